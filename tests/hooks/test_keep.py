"""What `keep=` adds to a record, against dense float64 attention and autograd through a dense copy."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import encoders
from clsight.errors import CaptureError
from clsight.hooks.keeping import KEEP
from clsight.records.checking import VARIABLE_DIMS
from clsight.schema import KEPT_BY

CASES = [encoders.random_case(seed, dtype=torch.float64) for seed in range(12)]
CASES = [case for case in CASES if len(case.encoder.layers) > 1]
by_case = pytest.mark.parametrize("case", CASES, ids=[f"{case.inputs.shape}" for case in CASES])


def capture(case, keep, **options):
    return clsight.capture(case.encoder, case.kwargs, cls_index=case.cls_index, keep=keep, **options)


@by_case
def test_rollout_equals_the_product_of_whole_matrices(case):
    record = capture(case, "rollout")
    dense = case.dense().mean(axis=2)
    for sample, layers in enumerate(dense):
        product = np.eye(layers.shape[-1])
        for weights in layers:
            product = (0.5 * weights + 0.5 * np.eye(len(weights))) @ product
        np.testing.assert_allclose(record["rollout"][sample], product[case.cls_index], atol=1e-12)
    np.testing.assert_allclose(record["rollout"].sum("token"), 1.0, atol=1e-12)


@by_case
def test_received_is_the_mean_over_real_queries(case):
    record = capture(case, "received")
    dense = case.dense()
    for sample, padded in enumerate(case.padding.numpy()):
        expected = dense[sample][:, :, ~padded].mean(axis=2)
        np.testing.assert_allclose(record["received"][sample], expected, atol=1e-12)


@pytest.mark.parametrize("name", KEPT_BY)
def test_a_variable_is_there_when_it_is_asked_for_by_the_name_the_schema_gives(name):
    case = CASES[0]
    target = (lambda output: output[:, 0].sum(-1)) if name == "attends_to_gradient" else None
    assert name not in capture(case, []).variables
    record = capture(case, KEPT_BY[name], target=target)
    assert record[name].dims == VARIABLE_DIMS[name]
    assert f"`{name}`" in KEEP[KEPT_BY[name]]


def test_rollout_and_received_are_exact_in_float32_and_written_out_attention():
    torch.manual_seed(0)
    module = nn.MultiheadAttention(12, 3, batch_first=True)
    x = torch.randn(2, 9, 12)
    found = {}
    for need_weights in (True, False):
        call = {"query": x, "key": x, "value": x, "need_weights": need_weights}
        found[need_weights] = clsight.capture(module, call, keep=["rollout", "received"])
    for name in ("rollout", "received"):
        np.testing.assert_allclose(found[True][name], found[False][name], atol=1e-6)


def test_rollout_of_identity_is_identity():
    class Identity(nn.Module):
        def forward(self, x):
            sharp = 50.0 * torch.eye(5, dtype=torch.float64).expand(2, 3, 5, 5)
            return nn.functional.scaled_dot_product_attention(sharp, sharp, x)

    record = clsight.capture(
        Identity(), torch.randn(2, 3, 5, 5, dtype=torch.float64), cls_index=1, keep="rollout"
    )
    np.testing.assert_allclose(record["rollout"], np.tile([0.0, 1.0, 0.0, 0.0, 0.0], (2, 1)), atol=1e-12)


@by_case
def test_keys_and_values_hold_those_of_cls(case):
    record = capture(case, ["vectors", "keys_values"])
    for one, every in (("key", "keys"), ("value", "values")):
        np.testing.assert_array_equal(record[every].isel(token=case.cls_index), record[one])
    scale = record.sizes["head_dim"] ** -0.5
    scores = (record["query"] * record["keys"]).sum("head_dim") * scale
    seen = record.attends_to.values > 0
    log_weights = np.log(np.where(seen, record.attends_to.values, 1.0))
    # scores and log weights differ by one normalizer per row
    offsets = np.where(seen, scores.transpose(*record.attends_to.dims).values - log_weights, np.nan)
    spread = np.nanmax(offsets, axis=-1) - np.nanmin(offsets, axis=-1)
    assert spread.max() < 1e-10


@by_case
def test_hidden_is_cls_before_and_after_each_layer(case):
    record = capture(case, "hidden")
    states = case.inputs if case.batch_first else case.inputs.transpose(0, 1)
    expected = [case.inputs[:, case.cls_index]]
    mask = case.kwargs.get("mask")
    padding = case.kwargs.get("src_key_padding_mask")
    case.encoder.eval()
    for layer in case.encoder.layers:
        states = layer(states, src_mask=mask, src_key_padding_mask=padding)
        expected.append((states if case.batch_first else states.transpose(0, 1))[:, case.cls_index])
    assert record["hidden"].dims == ("sample", "depth", "channel")
    np.testing.assert_allclose(record["hidden"], torch.stack(expected, 1).detach(), atol=1e-10)


def test_hidden_is_absent_with_a_reason_where_blocks_are_no_modules():
    class Inline(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.MultiheadAttention(12, 3, batch_first=True)
            self.second = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x):
            x = x + self.first(x, x, x)[0]
            return x + self.second(x, x, x)[0]

    record = clsight.capture(Inline(), torch.randn(2, 5, 12), keep="hidden")
    assert "hidden" not in record
    assert "what leaves `first` is not what enters the next layer" in record.attrs["absent"]["hidden"]


@by_case
def test_contribution_norm_is_the_norm_of_the_summed_contributions(case):
    record = capture(case, ["contributions", "keys_values"])
    for layer, module in enumerate(case.encoder.layers):
        out = module.self_attn.out_proj.weight.detach().numpy()
        row, values = record.attends_to[:, layer].values, record["values"][:, layer].values
        for sample, token in np.ndindex(row.shape[0], row.shape[2]):
            weighted = np.concatenate(
                [row[sample, h, token] * values[sample, h, token] for h in range(row.shape[1])]
            )
            np.testing.assert_allclose(
                record["contribution_norm"][sample, layer, token], np.linalg.norm(out @ weighted), atol=1e-12
            )


class Classifier(nn.Module):
    """An encoder layer by hand, so that the CLS row is a tensor that autograd can differentiate."""

    def __init__(self, way):
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(12, 36) for _ in range(2))
        self.head = nn.Linear(12, 4)
        self.way = way

    def forward(self, x, tweak=None):
        for layer, project in enumerate(self.project):
            query, key, value = (
                part.unflatten(-1, (3, 4)).transpose(1, 2) for part in project(x).chunk(3, -1)
            )
            if tweak is not None:
                weights = torch.softmax(query @ key.mT / 2, dim=-1)
                cls_row = weights[:, :, :1] + tweak[layer]
                mixed = torch.cat([cls_row, weights[:, :, 1:]], dim=2) @ value
            else:
                mixed = self.way(query, key, value)
            x = x + mixed.transpose(1, 2).flatten(2)
        return self.head(x[:, 0])


def fused(query, key, value):
    return nn.functional.scaled_dot_product_attention(query, key, value)


def folded(query, key, value):
    weights = torch.softmax(torch.bmm(query.flatten(0, 1), key.flatten(0, 1).mT) / 2, dim=-1)
    return torch.bmm(weights, value.flatten(0, 1)).unflatten(0, query.shape[:2])


def einsum(query, key, value):
    weights = torch.softmax(torch.einsum("bhid,bhjd->bhij", query, key) / 2, dim=-1)
    return torch.einsum("bhij,bhjd->bihd", weights, value).transpose(1, 2)


TARGETS = {
    "predicted": (None, lambda logits: logits.amax(1)),
    "class": (2, lambda logits: logits[:, 2]),
    "per sample": ([0, 3, 1], lambda logits: logits[torch.arange(3), torch.tensor([0, 3, 1])]),
    "function": (lambda output: output[:, 1].square(), lambda logits: logits[:, 1].square()),
}


@pytest.mark.parametrize("way", [fused, folded, einsum])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_is_that_of_autograd_through_the_row(way, target, frozen):
    torch.manual_seed(0)
    model = Classifier(way).double().requires_grad_(not frozen)
    x = torch.randn(3, 7, 12, dtype=torch.float64)
    asked, value_of = TARGETS[target]
    record = clsight.capture(model, x, keep="gradient", target=asked)
    tweak = [torch.zeros(3, 3, 1, 7, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    expected = torch.autograd.grad(value_of(model(x, tweak)).sum(), tweak)
    for layer, gradient in enumerate(expected):
        np.testing.assert_allclose(record["attends_to_gradient"][:, layer], gradient[:, :, 0], atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad != frozen for parameter in model.parameters())


def test_gradient_without_logits_tells_what_to_pass():
    with pytest.raises(CaptureError, match=r"Pass output=, a function from the model's output to its logits"):
        capture(CASES[0], "gradient")


def test_target_out_of_range_is_refused():
    with pytest.raises(
        CaptureError, match=r"`target`: expected a class between 0 and 3, for all .* samples, but got 4"
    ):
        clsight.capture(Classifier(fused), torch.randn(3, 7, 12), keep="gradient", target=4)


def test_output_names_the_logits():
    model = Classifier(fused)
    x = torch.randn(3, 7, 12)
    record = clsight.capture(model, x, output=lambda output: output[:, :2])
    np.testing.assert_allclose(record["logits"], model(x)[:, :2].detach(), atol=1e-6)
    with pytest.raises(
        CaptureError, match=r"`output`: expected a function that returns logits of shape \(sample=3"
    ):
        clsight.capture(model, x, output=lambda output: output[0])


def test_unknown_name_gets_the_nearest_and_all_options():
    with pytest.raises(CaptureError, match=r"Did you mean `rollout`\? Options: contributions, gradient"):
        capture(CASES[0], "roll_out")


def test_nothing_is_kept_that_was_not_asked_for():
    record = capture(CASES[0], ())
    assert {"keys", "values", "hidden", "rollout", "received"}.isdisjoint(record)


def test_keep_adds_to_the_vectors_of_cls():
    record = capture(CASES[0], "rollout")
    assert {"query", "key", "value", "rollout"} <= set(record)


def test_kept_records_survive_saving(tmp_path):
    record = clsight.capture(
        Classifier(fused),
        torch.randn(3, 7, 12),
        keep=["vectors", "keys_values", "rollout", "received", "gradient"],
    )
    path = clsight.save_record(record, tmp_path / "kept.zarr.zip")
    assert clsight.open_record(path).identical(record)


@by_case
def test_nothing_asked_for_keeps_the_weights_alone(case):
    record, usual = capture(case, ()), capture(case, "vectors")
    assert set(usual) - set(record) == {"query", "key", "value", "value_norm"} & set(usual)
    for name in record:
        np.testing.assert_array_equal(record[name], usual[name])
    for name in ("query", "key", "value", "value_norm"):
        assert record.attrs["absent"][name] == "not asked for: keep=() keeps the weights alone"


def test_values_of_another_width_are_absent_with_the_reason():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.out = nn.Linear(12, 12 + 12 + 6), nn.Linear(6, 12)

        def forward(self, x):
            parts = self.project(x).split([12, 12, 6], dim=-1)
            query, key, value = (part.unflatten(-1, (3, -1)).transpose(1, 2) for part in parts)
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
            return self.out(mixed.transpose(1, 2).flatten(2))

    record = clsight.capture(Block(), torch.randn(2, 5, 12), keep="keys_values")
    assert record["keys"].sizes["head_dim"] == 4
    assert "values" not in record
    assert record.attrs["absent"]["values"] == "its head width differs from the query's"
