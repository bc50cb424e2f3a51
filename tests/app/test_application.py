"""The app as a server: the document, its policy, its ids, its imports."""

import json
import re
import subprocess
import sys

import pytest
from dash import html

from clsight.errors import AppError
from clsight_app import create_app, ids


@pytest.fixture(scope="module")
def client(sample_paths):
    """Return a client of the app over the sample models."""
    return create_app(sample_paths).server.test_client()


def test_create_app_refuses_no_model():
    with pytest.raises(AppError, match="expected at least one model"):
        create_app([])


def test_document_names_its_language_and_no_other_host(client):
    document = client.get("/").get_data(as_text=True)
    assert '<html lang="en">' in document
    assert re.findall(r'(?:src|href)="(https?:)?//', document) == []


def test_each_answer_forbids_other_hosts(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_assets_are_served_from_here(client):
    for name in (
        "style.css",
        "keyboard.js",
        "navigation.js",
        "color_scheme.js",
        "icon.svg",
        "sun.svg",
        "moon.svg",
    ):
        with client.get(f"/assets/{name}") as answer:
            assert answer.status_code == 200
            assert b"http://" not in answer.data.replace(b"http://www.w3.org/2000/svg", b"")


SCRIPTS = ("addresses.js", "keyboard.js", "navigation.js", "color_scheme.js")


def scripts(client):
    """Return the text of all scripts of the app."""
    texts = []
    for name in SCRIPTS:
        with client.get(f"/assets/{name}") as answer:
            texts.append(answer.text)
    return "".join(texts)


def test_scripts_refer_to_ids_that_exist(client):
    known = {value for name, value in vars(ids).items() if name.isupper()}
    named = re.findall(r'(?:getElementById|set_props|property|target\.id ===) ?\(?"([^"]+)"', scripts(client))
    assert {"url", "catalog", "example", "scheme", "layer-head-grid"} <= set(named) <= known


def test_every_function_that_a_callback_names_is_in_the_scripts(client):
    callbacks = client.get("/_dash-dependencies").get_json()
    named = [
        made["clientside_function"]["function_name"] for made in callbacks if made["clientside_function"]
    ]
    assert {"controls", "links", "view", "sample", "tile", "colorScheme"} <= set(named)
    missing = [name for name in named if not re.search(rf"\b{name}: ", scripts(client))]
    assert missing == []


def test_no_script_forgets_the_functions_of_another(client):
    assert not re.findall(r"dash_clientside\.clsight = (?!Object\.assign)", scripts(client))


def test_ids_hold_no_character_that_dash_gives_a_meaning():
    names = [value for name, value in vars(ids).items() if name.isupper()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]+", name) for name in names)


def test_layout_is_valid_json_with_labeled_controls(client):
    layout = json.dumps(client.get("/_dash-layout").get_json())
    for label in ("Model", "Example, 0 to 19", "Direction", "Previous example", "Next example", "Pages"):
        assert f'"{label}"' in layout


def test_import_is_light():
    seen = "import sys, clsight_app; print(sorted({'torch', 'dash', 'plotly', 'flask'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_unknown_name_of_the_package_is_an_attribute_error():
    import clsight_app

    with pytest.raises(AttributeError, match="has no attribute 'run'"):
        clsight_app.run  # noqa: B018


def test_regions_of_a_page_are_components():
    from clsight_app.routing import page

    assert isinstance(page("/nowhere"), html.Div)
