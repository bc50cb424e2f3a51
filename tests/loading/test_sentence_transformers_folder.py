"""Folders of sentence-transformers: the transformers model inside, and nothing but three kinds of modules."""

import json

import pytest

import clsight
from clsight.errors import CheckpointError
from huggingface_folders import TEXT_FAMILIES, save_text_model

KINDS = ("Transformer", "Pooling", "Normalize")
OUTER = "sentence_transformers.models"


def modules(*, paths=("", "1_Pooling", "2_Normalize"), origin=OUTER, kinds=KINDS):
    return [
        {"idx": number, "name": str(number), "path": path, "type": f"{origin}.{kind}"}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=False))
    ]


@pytest.fixture
def write(tmp_path):
    def written(listed, *, inner="", pooling=None, settings=None):
        folder = tmp_path / inner
        folder.mkdir(exist_ok=True)
        save_text_model(folder, *TEXT_FAMILIES["bert"])
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(
            json.dumps(pooling or {"pooling_mode_cls_token": True})
        )
        (tmp_path / "modules.json").write_text(listed if isinstance(listed, str) else json.dumps(listed))
        if settings is not None:
            (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
        return tmp_path

    return written


@pytest.mark.parametrize(
    ("inner", "origin"),
    [("", OUTER), ("0_Transformer", OUTER), ("", "sentence_transformers.sentence_transformer.modules")],
)
def test_the_model_inside_is_loaded_and_captured(write, inner, origin):
    folder = write(modules(paths=(inner, "1_Pooling", "2_Normalize"), origin=origin), inner=inner)
    subject = clsight.load(folder)
    assert subject.name == folder.name
    assert subject.provenance["path"] == str(folder)
    assert subject.provenance["pooling"] == "cls"
    assert "cls" not in subject.provenance
    assert float(clsight.capture(subject, subject.examples).attention_error.max()) < 1e-5


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}, "max, mean"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "cls, mean"),
    ],
)
def test_how_tokens_become_one_vector_is_told(write, pooling, said):
    found = clsight.load(write(modules(), pooling=pooling)).provenance
    assert found["pooling"] == said
    assert said in found["cls"]


def test_length_and_case_are_those_of_the_folder(write):
    subject = clsight.load(write(modules(), settings={"max_seq_length": 9, "do_lower_case": True}))
    assert subject.prepare("the plan " * 9).token_text.shape == (1, 9)
    assert subject.provenance["truncation"].startswith("Text of more than 9 tokens")


@pytest.mark.parametrize("length", [None, "x", -3, 10**12, 2.5, True])
def test_a_length_that_makes_no_sense_is_passed_over(write, length):
    subject = clsight.load(write(modules(), settings={"max_seq_length": length}))
    assert subject.prepare("the plan " * 99).token_text.shape == (1, 64)


@pytest.mark.parametrize(
    "listed",
    [
        "",
        "{}",
        "[]",
        "[3]",
        "[null]",
        '[{"type": 3, "path": ""}]',
        '[{"type": "sentence_transformers.models.Transformer"}]',
        '[{"type": "os.system", "path": ""}]',
        '[{"type": "sentence_transformers_evil.Transformer", "path": ""}]',
        '[{"type": "own.Transformer", "path": ""}]',
        '[{"type": "Transformer", "path": ""}]',
        json.dumps(modules(kinds=("Transformer", "Pooling", "Dense"))),
        json.dumps(modules(kinds=("Pooling", "Transformer"))),
        json.dumps(modules(kinds=("Transformer", "Normalize"))),
        json.dumps(modules() * 2),
        json.dumps(modules(paths=("..", "1_Pooling"))),
        json.dumps(modules(paths=("/", "1_Pooling"))),
        json.dumps(modules(paths=("", "../1_Pooling"))),
        json.dumps(modules(paths=("nowhere", "1_Pooling"))),
    ],
)
def test_any_other_list_of_modules_is_refused(write, listed):
    folder = write(listed)
    (folder / "own.py").write_text("raise SystemExit('code of a file ran')")
    with pytest.raises(CheckpointError):
        clsight.load(folder)


def test_the_message_names_the_module_that_is_not_followed(write):
    folder = write(modules(kinds=("Transformer", "Pooling", "Dense")))
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(folder)
    assert str(refusal.value) == (
        f"`{folder / 'modules.json'}`: expected modules of sentence-transformers: Transformer, Pooling, "
        "Normalize, but got `sentence_transformers.models.Dense`. Pass the folder of its transformers model "
        "instead."
    )


def test_a_link_out_of_the_folder_is_refused(write, tmp_path_factory):
    folder = write(modules())
    outside = tmp_path_factory.mktemp("outside") / "modules.json"
    (folder / "modules.json").rename(outside)
    (folder / "modules.json").symlink_to(outside)
    with pytest.raises(CheckpointError, match="inside the folder"):
        clsight.load(folder)


@pytest.mark.parametrize(
    ("listed", "expected", "got"),
    [
        (modules() * 2, "a list of one to three modules", "a list of 6"),
        ([], "a list of one to three modules", "a list of 0"),
        ({"0": "a" * 200}, "a list of one to three modules", "an entry with neither"),
        ("a" * 200, "a list of one to three modules", "a str"),
        ([{"type": "a" * 200}], "`type` and `path` of each module", "an entry with `type`: str"),
        (
            [{"type": 3, "path": ""}],
            "`type` and `path` of each module",
            "an entry with `type`: int, `path`: str",
        ),
        ([None], "`type` and `path` of each module", "none"),
    ],
)
def test_a_list_of_another_form_is_described_rather_than_cut_off(write, listed, expected, got):
    folder = write(json.dumps(listed))
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(folder)
    assert str(refusal.value) == (
        f"`{folder / 'modules.json'}`: expected {expected}, but got {got}. Pass the folder of its "
        "transformers model instead."
    )
