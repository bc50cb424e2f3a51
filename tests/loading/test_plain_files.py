"""Configuration is read whole or refused, and names inside a folder stay there."""

import json
from pathlib import Path

import pytest

from clsight.errors import CheckpointError
from clsight.loading.plain_files import LARGEST_JSON, inside, read_bytes, read_json
from clsight.loading.plain_values import check_extent


def message_of(path, **options):
    with pytest.raises(CheckpointError) as caught:
        read_json(path, **options)
    return str(caught.value)


def test_read_json_gives_the_object(tmp_path):
    settings = {"model_type": "bert", "sizes": [1, 2.5, None, True], "nested": {"ä": "ö"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert read_json(tmp_path / "config.json") == settings


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "text that is not (Expecting value"),
        (b'{"a": 1', "text that is not (Expecting ',' delimiter"),
        (b"[1]", "list"),
        (b'"a"', "str"),
        (b'{"a": 1, "a": 2}', "text that is not (a name stands there twice)"),
        (b'{"b": {"a": 1, "a": 2}}', "a name stands there twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"\xff": 1}', "text that is not ("),
        (b'{"a": ' + b"9" * 5000 + b"}", "text that is not ("),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "text that is not ("),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "nesting deeper than 64"),
        (b'{"a": [' + b"0," * 1_000_001 + b"0]}", "more than 1,000,000 values"),
    ],
)
def test_read_json_refuses_what_is_no_object(tmp_path, data, got):
    (tmp_path / "config.json").write_bytes(data)
    message = message_of(tmp_path / "config.json")
    assert message.startswith(f"`{tmp_path / 'config.json'}`: expected ")
    assert got in message


def test_read_json_refuses_more_than_it_may_read(tmp_path):
    (tmp_path / "config.json").write_text('{"a": "' + "x" * LARGEST_JSON + '"}')
    assert f"expected at most {LARGEST_JSON:,} bytes, but got" in message_of(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert "expected at most 7 bytes, but got 8" in message_of(tmp_path / "config.json", largest=7)


def test_nesting_of_sixty_four_is_allowed():
    value: list[object] = []
    for _ in range(63):
        value = [value]
    check_extent(value)
    with pytest.raises(ValueError, match="deeper than 64"):
        check_extent([value])


def test_values_named_twice_count_twice():
    value: object = 0
    for _ in range(17):
        value = (value, value)
    check_extent(value)  # 2^18 - 2 values
    with pytest.raises(ValueError, match="more than"):
        check_extent([value] * 5)


def test_what_contains_itself_is_too_deep():
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="deeper than 64"):
        check_extent(value)


@pytest.mark.parametrize("name", ["a.bin", "deeper/a.bin", "link.bin", "deep link/a.bin"])
def test_inside_gives_the_file(tmp_path, name):
    (tmp_path / "deeper").mkdir()
    for file in ("a.bin", "deeper/a.bin"):
        (tmp_path / file).write_text(file)
    (tmp_path / "link.bin").symlink_to("deeper/a.bin")
    (tmp_path / "deep link").symlink_to(tmp_path / "deeper")
    assert inside(tmp_path, name).read_text() == (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/a", "a/../../b", "a//b", "a/", "a\\b", "C:/a", "a\0b", 5, None]
)
def test_inside_refuses_names_that_may_lead_out(tmp_path, name):
    with pytest.raises(CheckpointError, match="expected a name inside the folder, but got another"):
        inside(tmp_path, name)


def test_inside_refuses_links_that_lead_out(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "a").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    (folder / "round").symlink_to("round")
    for name in ("a", "up/secret", "round"):
        with pytest.raises(CheckpointError, match=r"but got a link to|Symlink loop|Too many levels"):
            inside(folder, name)


def test_inside_lets_a_snapshot_link_to_the_blobs_of_its_own_cache(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1f", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "77").write_text("{}")
    (tmp_path / "models--a--b" / "refs").write_text("x")
    (snapshot / "config.json").symlink_to("../../blobs/77")
    (snapshot / "refs").symlink_to("../../refs")
    assert read_json(inside(snapshot, "config.json")) == {}
    with pytest.raises(CheckpointError, match="but got a link to"):
        inside(snapshot, "refs")


def test_file_that_grows_while_it_is_read_is_refused():
    with pytest.raises(CheckpointError, match="but got one that changed while it was read"):
        read_bytes(Path("/proc/self/status"))  # says that it has no bytes, and has some
