"""The parts of a layer are found by what they are fed, in each order in which models wire them."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.interventions import norm_weighted_residual, sublayer
from clsight.interventions.opening import open_model
from decomposed_models import BUILDERS, model
from encoder_builders import SAMPLES, TOKENS, WIDTH, randomize


@pytest.mark.parametrize("name", BUILDERS)
def test_parts_are_those_of_the_reference(name):
    case = model(name)
    opened = open_model(case.module, case.inputs, cls_index=case.cls_index)
    assert [parts.absent for parts in opened.layers] == [{}] * len(case.blocks)
    for layer, (parts, block) in enumerate(zip(opened.layers, case.blocks, strict=True)):
        np.testing.assert_allclose(parts.found("projection"), block.output[0], atol=1e-14)
        np.testing.assert_allclose(parts.output_bias, block.output[1], atol=1e-14)
        assert (parts.norm is None) == (parts.second_norm is None) == block.pre_norm
        if not block.pre_norm:
            for norm, (gamma, beta, eps) in ((parts.norm, block.norm_1), (parts.second_norm, block.norm_2)):
                np.testing.assert_array_equal(norm.weight, gamma)
                np.testing.assert_array_equal(norm.bias, beta)
                assert (norm.eps, norm.centers) == (eps, True)
        for sample, layers in enumerate(case.samples):
            pieces, real = layers[layer], case.mask[sample]
            named = {"residual": "x", "attended": "after_1", "fed_forward": "fed", "leaving": "after_2"}
            for part, piece in named.items():
                found, expected = parts.found(part)[sample].numpy(), getattr(pieces, piece)
                np.testing.assert_allclose(found[real], expected[real], atol=1e-11)


class Wired(nn.Module):
    """Attention written out, and a way of one's own to add it to the stream."""

    def __init__(self, way, layers=2):
        super().__init__()
        self.way, self.layers = way, layers
        self.maps = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))
        self.mlp = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))
        self.norm = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(layers))
        self.norm_2 = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(layers))

    def attend(self, x, layer):
        query, key, value = self.maps[layer](x).reshape(SAMPLES, TOKENS, 3, 4, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out[layer](mixed.transpose(1, 2).flatten(2))

    def forward(self, x):
        for layer in range(self.layers):
            x = self.way(self, x, layer)
        return x


def post_norm_without_feed_forward(model, x, layer):
    return model.norm[layer](x + model.attend(x, layer))


def pre_norm_without_feed_forward(model, x, layer):
    return x + model.attend(model.norm[layer](x), layer)


def in_place(model, x, layer):
    x = x.clone()
    x += model.attend(model.norm[layer](x), layer)
    x += model.mlp[layer](model.norm_2[layer](x))
    return x


def sum_turned_round(model, x, layer):
    x = model.attend(model.norm[layer](x), layer).add_(x)
    return model.mlp[layer](model.norm_2[layer](x)) + x


def parallel(model, x, layer):
    normed = model.norm[layer](x)
    return x + (model.attend(normed, layer) + model.mlp[layer](normed))


def norm_on_the_branch(model, x, layer):
    x = x + model.norm[layer](model.attend(x, layer))
    return x + model.mlp[layer](x)


def no_residual(model, x, layer):
    return model.attend(x, layer)


def norm_before_projection(model, x, layer):
    query, key, value = model.maps[layer](x).reshape(SAMPLES, TOKENS, 3, 4, -1).permute(2, 0, 3, 1, 4)
    mixed = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    return x + model.out[layer](model.norm[layer](mixed))


def wired(way, layers=2):
    module = randomize(Wired(way, layers)).double()
    generator = torch.Generator().manual_seed(3)
    return module, torch.randn(SAMPLES, TOKENS, WIDTH, generator=generator, dtype=torch.float64)


def written_out(x):
    """A norm that no function of torch runs."""
    return 1.5 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)


def both_norms_without_feed_forward(model, x, layer):
    return model.norm[layer](x + model.attend(model.norm_2[layer](x), layer))


def feed_forward_behind_a_norm_written_out(model, x, layer):
    x = x + model.attend(model.norm[layer](x), layer)
    return x + model.mlp[layer](written_out(x))


def post_norm_written_out(model, x, layer):
    x = written_out(x + model.attend(x, layer))
    return written_out(x + model.mlp[layer](x))


def post_norm_written_out_without_feed_forward(model, x, layer):
    return written_out(x + model.attend(x, layer))


@pytest.mark.parametrize(
    ("way", "is_post_norm"),
    [
        (both_norms_without_feed_forward, True),
        (feed_forward_behind_a_norm_written_out, False),
        (post_norm_without_feed_forward, True),
        (pre_norm_without_feed_forward, False),
        (in_place, False),
        (sum_turned_round, False),
    ],
)
def test_stream_is_found_however_it_is_wired(way, is_post_norm):
    module, x = wired(way)
    opened = open_model(module, x)
    states = [x]
    with torch.no_grad():
        for layer in range(2):
            states.append(way(module, states[-1], layer))
    for layer, parts in enumerate(opened.layers):
        assert parts.absent == {}
        assert (parts.norm is not None) == is_post_norm
        assert torch.equal(parts.residual, states[layer])
        torch.testing.assert_close(parts.leaving, states[layer + 1], rtol=0, atol=0)
    assert float(norm_weighted_residual(module, x).completeness_error.max()) < 1e-14


def test_final_norm_of_a_pre_norm_model_is_no_part_of_its_last_layer():
    class Closed(Wired):
        def forward(self, x):
            return nn.functional.layer_norm(super().forward(x), (WIDTH,))

    module, x = wired(pre_norm_without_feed_forward)
    closed = Closed(pre_norm_without_feed_forward).double()
    closed.load_state_dict(module.state_dict())
    last = open_model(closed, x).layers[-1]
    assert last.norm is None
    assert torch.equal(last.leaving, module(x))


NOT_ADDED = (
    "what the output projection gave was not added to what attention had read: an adapter that is not "
    "merged, a norm, or a parallel feed-forward part may stand between"
)


@pytest.mark.parametrize("way", [parallel, norm_on_the_branch, no_residual])
def test_residual_sum_is_absent_with_its_reason(way):
    parts = open_model(*wired(way)).layers[0]
    assert parts.projection is not None
    assert parts.absent == dict.fromkeys(("residual", "attended", "leaving"), NOT_ADDED)


NOT_SEEN = (
    "what follows the sum of attention and what it had read was not seen: a norm that is written out may "
    "stand there"
)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("way", [post_norm_written_out, post_norm_written_out_without_feed_forward])
def test_stream_behind_an_unknown_norm_is_absent_with_its_reason(way, layers):
    for parts in open_model(*wired(way, layers)).layers:
        assert parts.absent == dict.fromkeys(("attended", "leaving"), NOT_SEEN)


class Adapted(nn.Module):
    """A linear map with a low-rank map beside it that is not merged."""

    def __init__(self, base):
        super().__init__()
        self.base, self.down = base, nn.Linear(WIDTH, 2, bias=False)
        self.up = nn.Linear(2, WIDTH, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def test_projection_inside_an_adapter_is_absent_with_its_reason():
    module, x = wired(pre_norm_without_feed_forward)
    module.out[0] = Adapted(module.out[0]).double()
    first, second = open_model(module, x).layers
    reason = "two linear maps were fed the merged heads: an adapter that is not merged may stand there"
    assert first.absent == dict.fromkeys(("projection", "residual", "attended", "leaving"), reason)
    assert first.projection is None
    assert second.absent == {}


def test_cls_that_is_padding_is_refused_in_a_sentence():
    module, x = wired(in_place)
    mask = torch.ones(SAMPLES, TOKENS, dtype=torch.bool)
    mask[1, 0] = False
    with pytest.raises(clsight.CaptureError) as refused:
        norm_weighted_residual(module, x, token_mask=mask)
    assert str(refused.value) == (
        "`Wired`: expected CLS to be a real token in every sample, but got padding there in sample 1. "
        "Check cls_index= and token_mask=, and leave out samples that are padding alone."
    )


def test_model_without_a_residual_sum_is_refused_in_a_sentence():
    with pytest.raises(clsight.CaptureError) as refused:
        norm_weighted_residual(*wired(no_residual))
    assert str(refused.value) == (
        "`norm_weighted_residual`: expected an output projection and a residual sum, found by what they are "
        f"fed, but got none in layer `#0`: {NOT_ADDED}. "
        "Merge adapters, if the model has some, or ask for a measure that needs the record alone."
    )


def test_norm_before_the_projection_is_told():
    parts = open_model(*wired(norm_before_projection)).layers[0]
    assert parts.absent["projection"] == (
        "no linear map was fed the merged heads of all tokens: a norm, a gate or an adapter may stand between"
    )


def first_layer_only(model, x, layer):
    return (pre_norm_without_feed_forward if layer == 0 else no_residual)(model, x, layer)


def test_layer_without_a_residual_sum_is_nan_with_the_reason():
    found = norm_weighted_residual(*wired(first_layer_only))
    assert found.norm_weighted_residual.isel(layer=0).notnull().all()
    for variable in found.drop_vars("token_mask").data_vars.values():
        assert variable.isel(layer=1).isnull().all()
        assert variable.attrs["reason"] == f"layer `#1`: {NOT_ADDED}"


def test_a_changed_weight_row_is_refused(monkeypatch):
    rows = sublayer.weight_rows
    monkeypatch.setattr(sublayer, "weight_rows", lambda *given: rows(*given) * 1.001)
    with pytest.raises(
        clsight.CaptureError, match="expected contributions that add up to the residual stream"
    ):
        norm_weighted_residual(*wired(in_place))
