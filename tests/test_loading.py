"""A saved model comes back as it was; anything else gives one CheckpointError that says what and where."""

import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

import clsight
from clsight.checkpoints import read_model
from clsight.errors import CheckpointError, ClsightError
from clsight.loading import Examples, as_subject, load, sample_models_dir
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import replacing_folder, save_model

IMAGES = ModelConfig(
    classes=3,
    width=8,
    heads=2,
    layers=2,
    feedforward=6,
    embedding="patch",
    image_size=(4, 6),
    patch_size=(2, 2),
    seed=5,
)
SERIES = ModelConfig(classes=2, width=4, heads=1, layers=1, embedding="linear", features=3, max_time=6)
WORDS = ModelConfig(classes=2, width=4, heads=1, layers=1, embedding="token", vocabulary=30, max_time=6)


def images(samples=5):
    return np.random.default_rng(0).random((samples, 4, 6), dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    """Return a saved model folder with examples."""
    arrays = {"inputs": images(), "labels": np.array([2, 0, 1, 1, 0])}
    path = tmp_path / "small-model"
    save_model(ClassificationTransformer(IMAGES), path, classes=("ant", "bee", "cat"), arrays=arrays)
    return path


def change_config(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    settings.update(changes)
    (folder / "config.json").write_text(json.dumps(settings))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_tensors(weights, folder / "model.safetensors")


def write_half_of(folder):
    with replacing_folder(folder, overwrite=True) as new:
        (new / "half").write_text("written")
        raise KeyboardInterrupt


def message_of(folder):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    return str(caught.value)


# --- what comes back ---


@pytest.mark.parametrize(
    "strategy", ["learned", "zeros", "fixed_random", "random_per_forward", "mean_pooling"]
)
@pytest.mark.parametrize("config", [IMAGES, replace(IMAGES, norm="post", bias=False, position="none")])
def test_load_gives_the_saved_model_bit_for_bit(tmp_path, config, strategy):
    model = ClassificationTransformer(replace(config, strategy=strategy)).eval()
    save_model(model, tmp_path / "m")
    subject = load(tmp_path / "m")
    x = torch.from_numpy(images())
    with torch.no_grad():
        assert torch.equal(subject.module(x), model(x))
    assert not subject.module.training
    assert all(weight.device.type == "cpu" for weight in subject.module.state_dict().values())


def test_load_gives_trainable_weights(folder):
    module = load(folder).module
    module(torch.from_numpy(images())).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())


def test_load_keeps_half_and_double_weights(tmp_path):
    for dtype in (torch.bfloat16, torch.float64):
        model = ClassificationTransformer(replace(IMAGES, strategy="fixed_random")).to(dtype)
        save_model(model, tmp_path / str(dtype))
        subject = load(tmp_path / str(dtype))
        assert {weight.dtype for weight in subject.module.state_dict().values()} == {dtype}
        assert subject.module(subject.prepare(images()).inputs).dtype == dtype


def test_load_names_what_belongs_to_the_model(folder):
    subject = load(folder)
    assert (subject.name, subject.strategy, subject.seed, subject.cls_index) == (
        "small-model",
        "learned",
        5,
        0,
    )
    assert subject.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(subject.examples.inputs, images())
    np.testing.assert_array_equal(subject.examples.labels, [2, 0, 1, 1, 0])


def test_provenance_holds_the_checksum_of_the_weights(folder):
    import hashlib

    provenance = load(folder).provenance
    assert provenance["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert provenance["path"] == str(folder)
    assert json.loads(json.dumps(provenance)) == provenance


def test_load_works_without_examples_and_class_names(tmp_path):
    save_model(ClassificationTransformer(IMAGES), tmp_path / "m")
    subject = load(tmp_path / "m")
    assert subject.examples is None
    assert subject.classes == ("0", "1", "2")


def test_reseed_repeats_a_random_subject(tmp_path):
    save_model(ClassificationTransformer(replace(IMAGES, strategy="random_per_forward")), tmp_path / "m")
    subject = load(tmp_path / "m")
    x = subject.prepare(images()).inputs
    first, second = subject.module(x), subject.module(x)
    subject.reseed()
    assert torch.equal(subject.module(x), first)
    assert not torch.equal(first, second)


def test_load_runs_no_pickle(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.")
    assert "expected a whole safetensors file" in message_of(folder)
    assert not list(tmp_path.rglob("hacked"))


# --- the token map ---


def test_token_map_names_cls_and_patches_row_by_row(folder):
    prepared = load(folder).prepare(images(2))
    expected = ["[CLS]", "patch 0,0", "patch 0,1", "patch 0,2", "patch 1,0", "patch 1,1", "patch 1,2"]
    assert prepared.token_text.tolist() == [expected] * 2
    assert prepared.token_kind.tolist() == [["cls"] + ["patch"] * 6] * 2
    assert prepared.row.tolist() == [[-1, 0, 0, 0, 1, 1, 1]] * 2
    assert prepared.column.tolist() == [[-1, 0, 1, 2, 0, 1, 2]] * 2
    assert prepared.row.dtype == prepared.column.dtype == np.int16
    assert prepared.token_text.dtype == prepared.token_kind.dtype == np.dtypes.StringDType()
    assert prepared.token_mask is None
    assert prepared.label is None


def test_patch_of_the_map_is_the_patch_the_model_embeds(folder):
    subject = load(folder)
    image = np.zeros((1, 4, 6), dtype=np.float32)
    image[0, 2:4, 4:6] = 1.0  # row 1, column 2 of the patches
    prepared = subject.prepare(image)
    tokens = subject.module.embed(prepared.inputs)[0]
    lit = [token for token in range(6) if not torch.equal(tokens[token], tokens[0])]
    place = [(prepared.row[0, 1 + token], prepared.column[0, 1 + token]) for token in lit]
    assert place == [(1, 2)]


@pytest.mark.parametrize(("strategy", "cls_index"), [("mean_pooling", None), ("first_token", 0)])
def test_control_has_no_cls_in_its_token_map(strategy, cls_index):
    subject = as_subject(ClassificationTransformer(replace(IMAGES, strategy=strategy)), name="control")
    prepared = subject.prepare(images())
    assert subject.cls_index == cls_index
    assert prepared.token_kind.tolist() == [["patch"] * 6] * 5
    assert prepared.row[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_token_map_marks_padded_steps():
    subject = as_subject(ClassificationTransformer(SERIES), name="series")
    mask = np.array([[True, True, False], [True, True, True]])
    x = np.arange(18, dtype=np.float64).reshape(2, 3, 3)
    prepared = subject.prepare(Examples(x, np.array([1, 0], dtype=np.int32), mask))
    assert prepared.token_text.tolist() == [
        ["[CLS]", "step 0", "step 1", "[PAD]"],
        ["[CLS]", "step 0", "step 1", "step 2"],
    ]
    assert prepared.token_kind.tolist() == [["cls", "step", "step", "pad"], ["cls", "step", "step", "step"]]
    assert prepared.token_mask.tolist() == [[True, True, True, False], [True] * 4]
    assert prepared.row is None
    assert prepared.label.tolist() == [1, 0]
    assert prepared.label.dtype == np.int64
    direct = subject.module(torch.from_numpy(x).float(), torch.from_numpy(mask))
    assert torch.equal(subject.module(**prepared.inputs), direct)


def test_token_map_shows_ids_of_words():
    subject = as_subject(ClassificationTransformer(WORDS), name="words")
    prepared = subject.prepare(np.array([[29, 0, 7]]))
    assert prepared.token_text.tolist() == [["[CLS]", "29", "0", "7"]]
    assert prepared.token_kind.tolist() == [["cls", "word", "word", "word"]]
    assert subject.module(prepared.inputs).shape == (1, 2)


@pytest.mark.parametrize(("config", "filler"), [(SERIES, np.nan), (WORDS, -100)])
def test_padding_may_hold_anything(config, filler):
    subject = as_subject(ClassificationTransformer(config), name="padded")
    x = np.full((1, 3, 3), filler) if config is SERIES else np.full((1, 3), filler)
    x[0, :2] = 1
    before = x.copy()
    prepared = subject.prepare(Examples(x, token_mask=np.array([[True, True, False]])))
    direct = subject.module(subject.prepare(x[:, :2]).inputs)
    torch.testing.assert_close(subject.module(**prepared.inputs), direct)
    np.testing.assert_array_equal(x, before)


def test_padded_patch_has_no_place():
    subject = as_subject(ClassificationTransformer(IMAGES), name="images")
    mask = np.array([[True, True, True, True, False, True]])
    prepared = subject.prepare(Examples(images(1), token_mask=mask))
    assert prepared.row.tolist() == [[-1, 0, 0, 0, 1, -1, 1]]
    assert prepared.column.tolist() == [[-1, 0, 1, 2, 0, -1, 2]]
    assert prepared.token_text[0, 5] == "[PAD]"


# --- examples ---


def test_examples_are_cut_along_samples():
    examples = Examples(images(), np.arange(5), np.eye(5, dtype=bool))
    assert len(examples) == 5
    assert examples[3].inputs.shape == (1, 4, 6)
    assert examples[-1].labels.tolist() == [4]
    assert examples[1:3].labels.tolist() == [1, 2]
    assert examples[np.array([4, 0])].labels.tolist() == [4, 0]
    np.testing.assert_array_equal(examples[2].token_mask, [[False, False, True, False, False]])
    assert [example.labels.item() for example in examples] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            ([[1.0]],),
            "`examples`: expected a NumPy array [sample, ...] of two or more dimensions, but got list.",
        ),
        ((np.zeros((0, 4, 6)),), "`examples`: expected one sample or more, but got none."),
        (
            (np.zeros((2, 4, 6)), np.zeros(3, dtype=int)),
            "`examples.labels`: expected sample=2, but got sample=3.",
        ),
        ((np.zeros((2, 4, 6)), np.zeros(2)), "expected whole numbers [sample], but got float64 [2]."),
    ],
)
def test_examples_refuse_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(ClsightError) as caught:
        Examples(*arrays)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "raw", "message"),
    [
        (
            IMAGES,
            np.zeros((2, 6, 4)),
            "expected numbers [sample, height=4, width=6], but got float64 [2, 6, 4].",
        ),
        (IMAGES, np.zeros((4, 6)), "expected numbers [sample, height=4, width=6], but got float64 [4, 6]."),
        (IMAGES, np.full((2, 4, 6), "a"), "but got <U1 [2, 4, 6]."),
        (
            SERIES,
            np.zeros((2, 5, 4)),
            "expected numbers [sample, time, feature=3], but got float64 [2, 5, 4].",
        ),
        (SERIES, np.zeros((2, 0, 3)), "but got float64 [2, 0, 3]."),
        (SERIES, np.zeros((2, 7, 3)), "expected at most time=6, but got time=7."),
        (WORDS, np.zeros((2, 5)), "expected token ids [sample, time], but got float64 [2, 5]."),
        (WORDS, np.array([[0, 30]]), "expected token ids from 0 to 29, but got 0 to 30."),
        (WORDS, np.array([[-1, 3]]), "expected token ids from 0 to 29, but got -1 to 3."),
    ],
)
def test_prepare_refuses_inputs_that_do_not_fit(config, raw, message):
    with pytest.raises(ClsightError) as caught:
        as_subject(ClassificationTransformer(config), name="m").prepare(raw)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])  # the last is infinite in float32
def test_prepare_names_the_sample_that_is_not_finite(value):
    raw = images().astype(np.float64)
    raw[3, 1, 2] = value
    with pytest.raises(ClsightError, match="but got NaN or infinity in sample=3"):
        as_subject(ClassificationTransformer(IMAGES), name="m").prepare(raw)


def test_prepare_refuses_a_mask_that_counts_cls():
    mask = np.ones((2, 6), dtype=bool)
    with pytest.raises(ClsightError, match=r"expected bool \[sample=2, time=5\], but got bool \[2, 6\]"):
        as_subject(ClassificationTransformer(SERIES), name="m").prepare(
            Examples(np.zeros((2, 5, 3)), None, mask)
        )


# --- bad folders ---


def test_load_refuses_a_missing_path(tmp_path):
    message = message_of(tmp_path / "none")
    assert message == (
        f"`{tmp_path / 'none'}`: expected a model folder, but got no such path. "
        "Pass a folder such as sample_models/digits-learned."
    )


@pytest.mark.parametrize(("path", "got"), [(5, "an object of type int"), (None, "None")])
def test_load_refuses_what_is_no_path(path, got):
    message = (
        f"`model`: expected the path of a model folder, but got {got}. Pass a str or a pathlib.Path, such"
    )
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_load_refuses_a_file(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"abc")
    assert "expected a model folder, but got a file" in message_of(tmp_path / "model.pt")


def test_load_refuses_a_foreign_folder(tmp_path):
    assert "expected a clsight model folder, but got a folder without config.json" in message_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    assert 'expected `"format": "clsight"`, but got settings of another library' in str(message_of(tmp_path))


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "\udcff"])
def test_load_refuses_settings_that_are_no_json(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert f"`{folder / 'config.json'}`: expected JSON, but got text that is not" in message_of(folder)


def test_load_refuses_a_later_format(folder):
    change_config(folder, format_version=2)
    assert "expected format_version 1, but got 2" in message_of(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "middle"}, "`norm`: expected a known option, but got 'middle'. In "),
        ({"strategy": "learnt"}, "Did you mean `learned`?"),
        ({"colour": 1}, "`model settings`: expected known names, but got 'colour'. In "),
        ({"strategy_options": {"std": "wide"}}, "expected a positive number as std, but got 'wide'. In "),
        (
            {"strategy_options": {"size": 1}},
            "`strategy learned`: expected a known option, but got `size`. In ",
        ),
        (
            {"width": 10**15},
            "`width`: expected a whole number from 1 to 65536, but got 1000000000000000. In ",
        ),
        ({"width": 64_000, "heads": 1}, "tensor "),
        ({"patch_size": "22"}, "`patch_size`: expected (height, width) in pixels, but got '22'. In "),
    ],
)
def test_load_refuses_settings_that_do_not_fit(folder, change, message):
    settings = json.loads((folder / "config.json").read_text())["model"]
    change_config(folder, model={**settings, **change})
    got = message_of(folder)
    assert message in got
    assert str(folder) in got


@pytest.mark.parametrize(("checksum", "got"), [(None, "null"), (5, "5")])
def test_load_refuses_a_checksum_that_is_no_text(folder, checksum, got):
    change_config(folder, weights_sha256=checksum)
    assert message_of(folder) == (
        f"`weights_sha256`: expected a checksum in hexadecimal, as text, but got {got}. "
        f"In {folder / 'config.json'}. Copy the folder anew from its source."
    )


def test_load_refuses_settings_without_a_model(folder):
    change_config(folder, model=None)
    assert "expected settings in `model`, but got NoneType" in message_of(folder)


@pytest.mark.parametrize(
    ("classes", "got"),
    [(["a", "b"], "but got 2 of them"), ("abc", "but got str"), ([1, 2, 3], "but got list")],
)
def test_load_refuses_class_names_that_do_not_fit(folder, classes, got):
    change_config(folder, classes=classes)
    message = message_of(folder)
    assert "expected 3 class names in `classes`" in message
    assert got in message


def test_load_refuses_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "expected a readable file, but got No such file or directory" in message_of(folder)


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_load_refuses_truncated_weights(folder, size):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert f"`{file}`: expected a whole safetensors file, but got " in message_of(folder)


def test_load_refuses_a_header_that_claims_more_than_the_file_holds(folder):
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "expected a whole safetensors file" in message_of(folder)


def test_load_names_missing_and_unexpected_tensors(folder):
    def rename(weights):
        weights["head.gain"] = weights.pop("head.weight")

    change_weights(folder, rename)
    message = message_of(folder)
    assert "expected the model's tensors, but got missing head.weight; unexpected head.gain" in message


def test_load_names_the_tensor_of_another_shape(folder):
    change_weights(folder, lambda weights: weights.update(position=torch.zeros(5, 8)))
    assert "`tensor position`: expected floating [7, 8], but got torch.float32 [5, 8]" in message_of(folder)


def test_load_names_the_tensor_of_another_dtype(folder):
    change_weights(folder, lambda weights: weights.update({"head.bias": torch.zeros(3, dtype=torch.int64)}))
    assert "`tensor head.bias`: expected floating [3], but got torch.int64 [3]" in message_of(folder)


def test_load_refuses_mixed_dtypes(folder):
    change_weights(folder, lambda weights: weights.update({"head.bias": torch.zeros(3, dtype=torch.float64)}))
    assert "expected tensors of one dtype, but got torch.float32, torch.float64" in message_of(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_load_names_the_tensor_that_is_not_finite(folder, value):
    change_weights(folder, lambda weights: weights["encoder.layers.1.linear1.weight"][2, :3].fill_(value))
    message = message_of(folder)
    assert "`tensor encoder.layers.1.linear1.weight`: expected finite numbers" in message
    assert "but got 3 of 48 that are NaN or infinite" in message


def test_load_notices_a_flipped_bit(folder):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    assert "expected the weights that were saved, but got a file with another checksum" in message_of(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"inputs": np.zeros((2, 3, 3))},
            "expected numbers [sample, height=4, width=6], but got float64 [2, 3, 3]",
        ),
        ({"inputs": np.full((2, 4, 6), np.nan)}, "expected finite numbers"),
        ({"inputs": np.zeros((2, 4, 6)), "labels": np.array([0, 3])}, "expected 0 to 2, but got 0 to 3"),
        ({"inputs": np.zeros((2, 4, 6)), "labels": np.array([[0], [1]])}, "expected whole numbers [sample]"),
        ({"images": np.zeros((2, 4, 6))}, "expected `inputs`, and nothing but `labels` and `token_mask`"),
        ({"inputs": np.zeros((2, 4, 6), dtype=np.uint16)}, "`array inputs`: expected a NumPy dtype"),
    ],
)
def test_load_refuses_examples_that_do_not_fit(folder, arrays, message):
    save_file(arrays, folder / "examples.safetensors")
    got = message_of(folder)
    assert message in got
    assert "examples.safetensors" in got


# --- saving ---


def test_save_takes_no_name_that_is_taken(folder, tmp_path):
    model = ClassificationTransformer(IMAGES)
    with pytest.raises(
        CheckpointError, match="expected a free name to save to, but got a clsight model folder"
    ):
        save_model(model, folder)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(CheckpointError, match="but got something else of that name"):
        save_model(model, tmp_path / "thesis", overwrite=True)


def test_taken_name_is_refused_before_the_work_is_done(folder):
    with pytest.raises(CheckpointError, match="expected a free name to save to"):
        replacing_folder(folder).__enter__()


def test_read_model_gives_the_model_in_eval_mode(folder):
    assert not read_model(folder).model.training


def test_save_replaces_the_whole_folder_when_asked(folder):
    save_model(ClassificationTransformer(replace(IMAGES, seed=6)), folder, overwrite=True)
    assert load(folder).seed == 6
    assert load(folder).examples is None


def test_failed_save_leaves_what_was_there_and_nothing_else(folder, tmp_path):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(CheckpointError, match="expected 3 class names in `classes`, but got 1 of them"):
        save_model(ClassificationTransformer(IMAGES), folder, classes=("one",), overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        write_half_of(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small-model"]


# --- where the sample models are ---


def test_sample_models_dir_is_the_checkouts(request):
    assert sample_models_dir() == request.config.rootpath / "sample_models"
    assert clsight.sample_models_dir is sample_models_dir


def test_sample_models_dir_is_the_packages_in_an_installation(folder, tmp_path, monkeypatch):
    installed = tmp_path / "lib" / "site-packages" / "clsight"
    installed.mkdir(parents=True)
    monkeypatch.setattr("clsight.loading.own_folder.__file__", str(installed / "loading" / "own_folder.py"))
    with pytest.raises(CheckpointError, match="`sample models`: expected model folders in"):
        sample_models_dir()
    shutil.copytree(folder, installed / "sample_models" / "small-model")
    assert sample_models_dir() == installed / "sample_models"
