"""Hostile and broken `config.json`: each is one CheckpointError or loads, runs no code, and takes little."""

import json
import resource
import time

import pytest

import clsight
from clsight.errors import CaptureError, CheckpointError
from clsight.loading.huggingface_config import checked, read_config
from huggingface_folders import PICTURE_FAMILIES, TEXT_FAMILIES, save_model, save_text_model

SECONDS, MEBIBYTES = 5, 512
EVERYWHERE = [10**9, 10**12, 1e12, 1e308, -1, 0, "x", None, [], {}, [10**9], {"a": 10**12}, True, 2048]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {
        name: tmp_path_factory.mktemp(name) for name in ("bert", "modernbert", "deberta-v2", "vit", "beit")
    }
    for name, folder in made.items():
        if name in TEXT_FAMILIES:
            save_text_model(folder, *TEXT_FAMILIES[name])
        else:
            save_model(folder, *PICTURE_FAMILIES[name])
        clsight.load(folder)  # imports what is imported once
    return made


@pytest.fixture
def bert(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    return tmp_path


def rewrite(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


def try_to_load(folder):
    """Return what the refusal says, or "" if the folder loads and is captured or refused by the capture."""
    try:
        subject = clsight.load(folder)
        clsight.capture(subject, subject.examples[:1])
    except CaptureError:
        return ""
    except CheckpointError as refusal:
        return str(refusal)
    return ""


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2", "vit", "beit"])
def test_any_value_under_any_key_is_refused_or_loads(folders, family):
    folder, before, start = folders[family], memory(), time.monotonic()
    config = json.loads((folder / "config.json").read_text())
    tried = 0
    for key in config:
        for value in EVERYWHERE:
            rewrite(folder, **{key: value})
            try_to_load(folder)
            tried += 1
        rewrite(folder, **config)
    assert memory() - before < MEBIBYTES
    assert (time.monotonic() - start) / tried < 0.5
    assert try_to_load(folder) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("num_hidden_layers", "hidden_size", "vocab_size")
            for value in (10**9, 1e12, -1)
        ),
        ("intermediate_size", 10**12),
        ("max_position_embeddings", 10**12),
        ("num_attention_heads", 0),
        ("num_labels", 10**12),
        ("id2label", {str(number): "x" for number in range(200_001)}),
        ("id2label", {"a": "x"}),
        ("id2label", 7),
        ("layer_norm_eps", 1e400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_size_that_no_model_has_is_refused_at_once(bert, key, value):
    before, start = memory(), time.monotonic()
    (bert / "config.json").write_text(
        json.dumps({**json.loads((bert / "config.json").read_text()), key: value}).replace(
            "Infinity", "1e999"
        )
    )
    assert try_to_load(bert) != ""
    assert memory() - before < MEBIBYTES
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize(
    ("key", "value"), [("num_hidden_layers", 2000), ("hidden_size", 3 * 2**14), ("vocab_size", 2**22)]
)
def test_a_model_far_larger_than_its_file_is_refused_before_it_is_built(bert, key, value):
    before, start = memory(), time.monotonic()
    refusal = try_to_load(rewrite(bert, **{key: value}))
    assert "expected a BertModel of the" in refusal
    assert refusal.endswith("Check that config.json belongs to these weights.")
    assert memory() - before < MEBIBYTES
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModel": "modeling_own.Own"}),
        ("auto_map", "x"),
        ("custom_pipelines", {"own": {"impl": "own.Own"}}),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("transformers_weights", "other.safetensors"),
        ("kernel_config", {"RMSNorm": "someone/kernel"}),
        ("fusion_config", {"a": True}),
        ("backbone", "resnet50"),
        ("use_timm_backbone", True),
        ("per_layer_config", {"0": {"hidden_size": 5}}),
        ("is_encoder_decoder", True),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("text_config", {"auto_map": {"AutoModel": "own.Own"}}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_key_that_names_code_or_no_encoder_is_refused(bert, key, value):
    (bert / "modeling_own.py").write_text("raise SystemExit('code of a file ran')")
    (bert / "own.py").write_text("raise SystemExit('code of a file ran')")
    refusal = try_to_load(rewrite(bert, **{key: value}))
    assert refusal.startswith(f"`{'auto_map' if key == 'text_config' else key}`: expected ")
    assert str(bert / "config.json") in refusal


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
@pytest.mark.parametrize(
    "value", ["kernels-community/flash-attn", "someone/kernel", "flash_attention_2", {"": "x/y"}]
)
def test_a_kernel_that_a_file_names_is_not_followed(bert, key, value):
    subject = clsight.load(rewrite(bert, **{key: value, "text_config": {key: value}}))
    assert subject.module.config._attn_implementation == "sdpa"
    assert subject.provenance["attention"] == "sdpa"


@pytest.mark.parametrize("key", ["output_attentions", "output_hidden_states", "torchscript", "return_dict"])
def test_a_file_does_not_choose_the_form_of_the_output(bert, key):
    plain = clsight.load(bert).module.config.to_dict()
    assert clsight.load(rewrite(bert, **{key: key != "return_dict"})).module.config.to_dict() == plain


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{" * 10_000,
        '{"model_type": NaN}',
        '{"a": 1, "a": 2}',
        "\0\1",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_file_that_is_no_json_object_is_refused(bert, content):
    (bert / "config.json").write_text(content)
    assert try_to_load(bert) != ""
    with pytest.raises(CheckpointError):
        read_config(bert)


@pytest.mark.parametrize(
    "kind", [None, "", "berd", 3, [], ["bert"], {}, "timm_wrapper", "../bert", "os", "__class__"]
)
def test_an_unknown_kind_of_model_is_refused(bert, kind):
    assert "`model_type`: expected a kind of model that transformers has" in try_to_load(
        rewrite(bert, model_type=kind)
    )


@pytest.mark.parametrize(
    ("kind", "got", "step"),
    [
        ("bertt", "'bertt'", "Did you mean `bert` or `ibert` or `hubert`? If not, a newer"),
        ("zzzz", "'zzzz'", "A newer"),
    ],
)
def test_the_nearest_kinds_of_model_are_named_if_there_are_any(bert, kind, got, step):
    import transformers

    assert try_to_load(rewrite(bert, model_type=kind)) == (
        f"`model_type`: expected a kind of model that transformers has, but got {got}. In "
        f"{bert / 'config.json'}. {step} transformers than {transformers.__version__} may have it: "
        "pip install --upgrade transformers."
    )


def test_a_folder_that_names_no_kind_of_model_is_told_so(bert):
    assert try_to_load(rewrite(bert, model_type=None)) == (
        "`model_type`: expected a kind of model that transformers has, but got none. In "
        f"{bert / 'config.json'}. Correct config.json."
    )


def test_names_of_classes_may_be_any_words(bert):
    labels = {"0": "image layer", "1": "auto_map", "2": "_hidden"}
    config = {"id2label": labels, "label2id": {name: int(number) for number, name in labels.items()}}
    file = bert / "config.json"
    assert checked({**json.loads(file.read_text()), **config}, file)["id2label"] == labels


def test_a_list_and_a_nest_without_end_are_refused(bert):
    assert "at most 4096 values" in try_to_load(rewrite(bert, layer_types=["x"] * 5000))
    nest: dict = {}
    for _ in range(10):
        nest = {"a": nest}
    assert "nested too deep" in try_to_load(rewrite(bert, layer_types=None, other=nest))
