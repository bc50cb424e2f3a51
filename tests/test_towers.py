"""Several towers in one forward: `within=` chooses one, and without it an error lists the choices."""

import copy

import pytest
import torch
from torch import nn

import clsight
from clsight.errors import CaptureError
from encoder_builders import IMAGE, LENGTHS, TEXT, hugging_face, open_clip_model, pixels, words_to_end_of_text
from encoder_comparison import compare

pytestmark = pytest.mark.slow  # `make check` keeps the encoders of test_encoders.py

ENDS = [length - 1 for length in LENGTHS]


@pytest.fixture(params=["sdpa", "eager"])
def clip(request):
    options = dict(
        text_config=dict(eos_token_id=49, **TEXT),
        vision_config=IMAGE,
        projection_dim=10,
        logit_scale_init_value=1.0,
    )
    module = hugging_face("CLIPModel", "CLIPConfig", options, attention=request.param)()
    return module, {**words_to_end_of_text(), **pixels()}


@pytest.fixture
def open_clip():
    ids = words_to_end_of_text()["input_ids"]
    return open_clip_model(), {**pixels(128, "image"), "text": ids}


def test_two_towers_without_a_choice_list_the_choices(clip):
    with pytest.raises(CaptureError) as refusal:
        clsight.capture(*clip)
    assert str(refusal.value) == (
        "`CLIPModel`: expected one sequence that all attention layers share, but got 2 layers of 17 tokens, "
        "`vision_model.encoder.layers.0` to `vision_model.encoder.layers.1`; 2 layers of 9 tokens, "
        "`text_model.encoder.layers.0` to `text_model.encoder.layers.1`. Choose one with within=, here "
        "`vision_model.encoder` or `text_model.encoder`, and pass its cls_index."
    )


@pytest.mark.parametrize(("tower", "cls_index", "tokens"), [("vision_model", 0, 17), ("text_model", ENDS, 9)])
def test_within_chooses_a_tower(clip, tower, cls_index, tokens):
    module, inputs = clip
    found = compare(module, inputs, within=tower, cls_index=cls_index)
    assert found.record.sizes["token"] == tokens
    assert list(found.record.layer_name.values) == [f"{tower}.encoder.layers.{layer}" for layer in (0, 1)]
    assert max(found.row_error, found.column_error) <= 1e-5
    again = clsight.capture(module, inputs, within=tower, cls_index=cls_index)
    assert again.drop_attrs().identical(found.record.drop_attrs())


def test_one_cls_position_per_sample_is_where_clip_pools(clip):
    module, inputs = clip
    record = clsight.capture(module, inputs, within="text_model", cls_index=ENDS)
    assert record.cls_position.values.tolist() == ENDS
    kinds = record.token_kind.values.tolist()
    assert [kind.index("cls") for kind in kinds] == ENDS
    pooled = [int((ids == 49).nonzero()) for ids in inputs["input_ids"]]
    assert pooled == ENDS


def test_a_tower_that_does_not_exist_is_refused_with_the_nearest_name(clip):
    with pytest.raises(CaptureError, match=r"[Dd]id you mean .?text_model"):
        clsight.capture(*clip, within="text_modle")


@pytest.mark.parametrize(("tower", "cls_index", "tokens"), [("visual", 0, 17), ("transformer", ENDS, 9)])
def test_within_chooses_a_tower_of_open_clip(open_clip, tower, cls_index, tokens):
    module, inputs = open_clip
    found = compare(module, inputs, within=tower, cls_index=cls_index)
    assert found.record.sizes["token"] == tokens
    assert max(found.row_error, found.column_error) <= 1e-5


def test_towers_of_one_batch_do_not_mix(clip):
    """A tower's map is the map of that tower alone."""
    module, inputs = clip
    whole = clsight.capture(module, inputs, within="vision_model")
    alone = clsight.capture(module.vision_model, {"pixel_values": inputs["pixel_values"]})
    assert torch.equal(torch.tensor(whole.attends_to.values), torch.tensor(alone.attends_to.values))
    assert torch.equal(torch.tensor(whole.value_norm.values), torch.tensor(alone.value_norm.values))


class Shortens(nn.Module):
    """Drops half of the tokens after the second of three layers."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
        self.blocks = nn.ModuleList(copy.deepcopy(layer) for _ in range(3))

    def forward(self, x):
        for place, block in enumerate(self.blocks):
            x = block(x if place < 2 else x[:, ::2])
        return x


def test_sequence_that_changes_on_its_way_names_the_layers_that_can_be_compared():
    module, x = Shortens().eval(), torch.randn(2, 8, 12)
    with pytest.raises(CaptureError) as refusal:
        clsight.capture(module, x)
    assert str(refusal.value) == (
        "`Shortens`: expected one sequence that all attention layers share, but got 2 layers of 8 tokens, "
        "`blocks.0` to `blocks.1`; 1 layer of 4 tokens, `blocks.2`. Only `blocks.0` to `blocks.1` can be "
        "compared, before the sequence changes: capture the module that holds them alone, or one layer with "
        "within='blocks.0'."
    )
    assert clsight.capture(module, x, within="blocks.2").sizes["token"] == 4
