"""What has no CLS map is refused or left out with its sentence, and never shown wrong."""

import pytest
import torch

import clsight
from clsight.errors import CaptureError
from encoder_builders import TEXT, hugging_face
from refused_encoders import REFUSED

NO_SDPA = {
    "MPNet": TEXT,
    "DebertaV2": TEXT,
    "RoFormer": dict(embedding_size=24, **TEXT),
    "XLNet": dict(vocab_size=50, d_model=24, n_layer=2, n_head=3, d_inner=40),
    "SqueezeBert": dict(embedding_size=24, **TEXT),
}
NOT_BUILT = "MPNet, DeBERTa-v2, RoFormer, XLNet, SqueezeBERT under sdpa"


def cases(*, shown):
    """Return the names of encoders with or without layers that are shown."""
    return [name for name, encoder in REFUSED.items() if bool(encoder.layers) == shown and name != NOT_BUILT]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("name", cases(shown=False))
def test_encoder_without_a_cls_map_is_refused_with_a_sentence(name):
    encoder = REFUSED[name]
    torch.manual_seed(6)
    with pytest.raises(CaptureError) as refusal:
        clsight.capture(encoder.build(), encoder.inputs())
    assert encoder.sentence in str(refusal.value)


@pytest.mark.parametrize("name", cases(shown=True))
def test_layers_without_a_cls_map_are_left_out_with_a_sentence(name):
    encoder = REFUSED[name]
    record = clsight.capture(encoder.build(), encoder.inputs())
    assert tuple(record.layer_name.values) == encoder.layers
    assert encoder.sentence in " ".join(record.attrs["notes"])


@pytest.mark.parametrize("family", NO_SDPA)
def test_transformers_itself_has_no_sdpa_for_this_family(family):
    with pytest.raises(ValueError, match="does not support an attention implementation"):
        hugging_face(f"{family}Model", f"{family}Config", NO_SDPA[family], attention="sdpa")()
