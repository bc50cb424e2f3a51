"""State dicts that have two readings, or none: each is refused in one sentence that names the tensors."""

import pytest
import torch

from clsight.errors import CheckpointError
from clsight.loading import load
from encoder_builders import randomize
from user_modules import CLASSES, FEATURES, HEADS, WIDTH, Attentions, Series, TwoTowers


def saved(module, path):
    torch.save(randomize(module).state_dict(), path)
    return path


def message_of(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load(path, **options)
    return str(caught.value)


def test_two_encoders_are_refused_with_their_prefixes(tmp_path):
    assert message_of(saved(TwoTowers(), tmp_path / "m.pt"), heads=HEADS) == (
        f"`{tmp_path / 'm.pt'}`: expected the layers of one encoder, but got 2 encoders: `left.layers`, "
        "`right.layers`. Pass your own class: --model package.module:factory, in Python factory=."
    )


def test_encoder_is_found_beside_a_decoder(tmp_path):
    module = torch.nn.Transformer(WIDTH, HEADS, 2, 2, 40, batch_first=True)
    subject = load(saved(module, tmp_path / "m.pt"), heads=HEADS)
    assert subject.provenance["inferred"]["layers"] == "2 layers (`encoder.layers`)"
    assert subject.provenance["set_aside"]["decoder.layers.1"] == "a decoder layer"


@pytest.mark.parametrize(
    ("name", "got"),
    [("type.weight", "`type` in it"), (".".join("a" * 40), "one of 41 parts"), ("x..y", "`` in it")],
)
def test_names_that_no_module_has_are_refused(name, got, tmp_path):
    weights = {key: each for key, each in randomize(Series()).state_dict().items() if "head" not in key}
    torch.save({**weights, f"head.{name}.weight": torch.ones(CLASSES, WIDTH)}, tmp_path / "m.pt")
    assert f"but got {got}" in message_of(tmp_path / "m.pt", heads=HEADS)


def test_feedforward_part_beside_the_attention_is_refused(tmp_path):
    module = Attentions()
    module.attentions = module.attentions[:1]
    module.up, module.down = torch.nn.Linear(WIDTH, 40), torch.nn.Linear(40, WIDTH)
    message = message_of(saved(module, tmp_path / "m.pt"), heads=HEADS)
    assert "expected attention alone, or layers with all that is in them, but got `up` and `down`" in message


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda names: {"conv1.weight": torch.ones(3, 3)}, "1 tensors without them (`conv1.weight`)"),
        (
            lambda names: (
                {**names, "encoder.layers.1.gamma": torch.ones(WIDTH)}
                | {"encoder.layers.0.gamma": torch.ones(WIDTH)}
            ),
            "layers with `encoder.layers.0.gamma`",
        ),
        (
            lambda names: {name: each for name, each in names.items() if "layers.0.norm1.weight" not in name},
            "`norm1.weight` that differs between `encoder.layers.0` and `encoder.layers.1`",
        ),
        (
            lambda names: {name.replace("layers.1", "layers.3"): each for name, each in names.items()},
            "layers 0, 3",
        ),
        (
            lambda names: {**names, "scales.0": torch.ones(5), "scales.1": torch.ones(5)},
            "`scales.0` beside it",
        ),
        (lambda names: {**names, "cls_two": torch.ones(WIDTH)}, "`cls_vector` and `cls_two`"),
        (lambda names: {**names, "pos_two": torch.ones(4, WIDTH)}, "`pos_embedding` and `pos_two`"),
        (lambda names: {**names, "embed2.weight": torch.ones(WIDTH, 8)}, "`to_tokens` and `embed2`"),
        (
            lambda names: {**names, "word_emb.weight": torch.ones(9, WIDTH)},
            "`word_emb` and `to_tokens`",
        ),
        (
            lambda names: {**names, "embedding.weight": torch.ones(WIDTH, WIDTH)},
            "`embedding` [24, 24]",
        ),
        (
            lambda names: (
                {name: each for name, each in names.items() if name.startswith("encoder")}
                | {"x.weight": torch.ones(3, WIDTH)}
            ),
            "`x`, which could be both",
        ),
        (lambda names: {**names, "first.weight": torch.ones(FEATURES, 8)}, "`first` before `to_tokens`"),
        (lambda names: {**names, "c.weight": torch.ones(WIDTH, 5, 3)}, "`c`, a convolution"),
        (
            lambda names: {**names, "x.weight": torch.ones(WIDTH, WIDTH), "x.bias": torch.ones(WIDTH)},
            "`x` [24, 24]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_state_dict_with_two_readings_is_refused(change, got, tmp_path):
    torch.save(change(dict(randomize(Series()).state_dict())), tmp_path / "m.pt")
    message = message_of(tmp_path / "m.pt", heads=HEADS)
    assert f"but got {got}" in message
    assert message.endswith(("in Python factory=.", "Save it anew."))


def test_attention_over_keys_of_another_width_is_refused(tmp_path):
    module = torch.nn.MultiheadAttention(WIDTH, HEADS, kdim=7, vdim=9)
    message = message_of(saved(module, tmp_path / "m.pt"), heads=HEADS)
    assert "but got `q_proj_weight` with keys or values of another width" in message


def test_option_of_another_format_is_refused(tmp_path):
    path = saved(Attentions(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"architecture"):
        load(path, heads=HEADS, architecture="nonsense:x")


@pytest.mark.parametrize(
    ("names", "step"),
    [
        (
            ["conv_proj.weight", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"],
            "torchvision:",
        ),
        (["blocks.0.attn.qkv.weight"], "--architecture timm:"),
        (["transformer.resblocks.0.attn.x", "visual.transformer.resblocks.0.attn.y"], "open_clip:"),
        (
            ["encoder.layer.0.attention.self.query.weight"],
            "If transformers made it, pass the folder with its config.json; if your own",
        ),
    ],
)
def test_file_of_a_library_is_refused_with_the_way_to_load_it(names, step, tmp_path):
    torch.save({name: torch.ones(24, 24) for name in names}, tmp_path / "m.pt")
    assert step in message_of(tmp_path / "m.pt")


def test_file_beside_its_config_is_refused_with_the_folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"encoder.layer.0.attention.self.query.weight": torch.ones(4, 4)}, tmp_path / "m.bin")
    assert f"Pass the folder {tmp_path}, whose config.json says" in message_of(tmp_path / "m.bin")


def test_architecture_of_an_unknown_library_is_refused_with_those_that_are_known(tmp_path):
    path = saved(Series(), tmp_path / "m.pt")
    message = message_of(path, architecture="tim:vit_tiny")
    assert "expected `library:name`, of timm, torchvision or open_clip, but got architecture='tim:" in message


def test_missing_file_is_told_whatever_else_is_stated(tmp_path):
    assert "but got no such path" in message_of(tmp_path / "absent.pt", heads=HEADS)
    (tmp_path / "run").mkdir()
    saved(Series(), tmp_path / "run" / "m.pt")
    named = f"a folder with one in it: m.pt. Name it: {tmp_path / 'run' / 'm.pt'}."
    assert named in message_of(tmp_path / "run", heads=HEADS)
