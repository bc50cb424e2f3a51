"""Attention that is almost, but not quite, `softmax(q·kᵀ)·v` over the tokens of a batch: right or refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import clsight
from clsight.errors import CaptureError

SAMPLES, TOKENS, WIDTH, HEADS = 2, 9, 16, 4
sdpa = functional.scaled_dot_product_attention


class Block(nn.Module):
    """Pre-norm attention whose operation is given; queries, keys and values are [sample, head, token, 4]."""

    def __init__(self, attend):
        super().__init__()
        self.norm, self.project = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.attend = nn.Linear(WIDTH, WIDTH), attend

    def forward(self, x):
        projected = self.project(self.norm(x)).view(len(x), -1, 3, HEADS, WIDTH // HEADS)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        return x + self.out(self.attend(query, key, value).transpose(1, 2).reshape(x.shape))


def model(*attend):
    torch.manual_seed(4)
    return nn.Sequential(*(Block(one) for one in attend)).eval()


def x(samples=SAMPLES):
    torch.manual_seed(5)
    return torch.randn(samples, TOKENS, WIDTH)


def weights_of(query, key):
    return torch.softmax(query @ key.mT / 2, -1)


def message_of(module, inputs, **options):
    with pytest.raises(CaptureError) as caught:
        clsight.capture(module, inputs, **options)
    return str(caught.value)


def column_cleared(query, key, value):
    weights = weights_of(query, key).clone()
    weights[:, :, 1:, 0] = 0
    return weights @ value


def gated(query, key, value):
    gate = torch.ones(TOKENS, TOKENS)
    gate[1:, 0] = 0.5
    return (weights_of(query, key) * gate) @ value


@pytest.mark.parametrize("attend", [column_cleared, gated])
def test_weights_that_change_after_the_softmax_are_refused(attend):
    assert "`0`: expected the CLS column to agree" in message_of(model(attend), x())


def padding_cleared(query, key, value):
    weights = weights_of(query, key).clone()
    weights[:, :, -2:] = 0
    return weights @ value


def test_queries_whose_weights_are_all_cleared_do_not_count():
    record = clsight.capture(model(padding_cleared), x())
    expected = clsight.capture(model(lambda q, k, v: weights_of(q, k) @ v), x())
    np.testing.assert_array_equal(record.attends_to, expected.attends_to)


def heads_first(attend):
    def run(query, key, value):
        folded = [part.transpose(0, 1).flatten(0, 1) for part in (query, key, value)]
        return attend(*folded).view(HEADS, -1, TOKENS, WIDTH // HEADS).transpose(0, 1)

    return run


def bmm_attention(query, key, value):
    return torch.bmm(torch.softmax(torch.bmm(query, key.mT) / 2, -1), value)


@pytest.mark.parametrize("attend", [sdpa, bmm_attention])
@pytest.mark.parametrize("keep", ["vectors", ()])
def test_heads_before_samples_in_the_batch_are_noticed(attend, keep):
    found = message_of(model(heads_first(attend)), x(), keep=keep)
    assert "`0`: expected samples before heads" in found
    record = clsight.capture(model(heads_first(attend)), x()[:1])
    expected = clsight.capture(model(sdpa), x()[:1])
    np.testing.assert_allclose(record.attends_to, expected.attends_to, atol=1e-6)


def test_order_of_samples_and_heads_that_nothing_confirms_is_noted():
    def folded(query, key, value):
        mixed = bmm_attention(*(part.flatten(0, 1) for part in (query, key, value)))
        return mixed.view(query.shape) * 2  # a gate before the output projection

    record = clsight.capture(model(folded), x())
    assert "no output projection confirms" in " ".join(record.attrs["notes"])


def turned(turn):
    return lambda query, key, value: torch.softmax(turn(key @ query.mT / 2), -1) @ value


TURNS = {
    "mT": lambda scores: scores.mT,
    "transpose": lambda scores: scores.transpose(-1, -2),
    "permute": lambda scores: scores.permute(0, 1, 3, 2),
    "swapaxes": lambda scores: torch.swapaxes(scores, 2, 3),
}


@pytest.mark.parametrize("turn", TURNS)
def test_scores_of_keys_by_queries_that_are_turned_keep_queries_and_keys_apart(turn):
    record = clsight.capture(model(turned(TURNS[turn])), x())
    expected = clsight.capture(model(sdpa), x())
    for name in ("attends_to", "attended_by", "query", "key"):
        np.testing.assert_allclose(record[name], expected[name], atol=1e-5)


class SharedBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.keys = torch.zeros(SAMPLES, HEADS, TOKENS, WIDTH // HEADS)

    def forward(self, query, key, value):
        self.keys.copy_(key)
        return sdpa(query, self.keys, value)


@pytest.mark.parametrize("keep", ["keys_values", "rollout", "received"])
def test_buffer_that_layers_share_is_not_read_after_the_forward(keep):
    shared = SharedBuffer()
    with torch.no_grad():
        module, expected = model(shared, shared), clsight.capture(model(sdpa, sdpa), x())
        found = message_of(module, x(), keep=keep)
        assert found.startswith("`0`: expected queries, keys and values that stay as they are")
        record = clsight.capture(module, x())
    np.testing.assert_allclose(record.attends_to, expected.attends_to, atol=1e-6)
    np.testing.assert_allclose(record.attended_by, expected.attended_by, atol=1e-6)


def test_infinite_values_are_refused_and_no_dropout_is_blamed():
    module = model(sdpa, sdpa)
    with torch.no_grad():
        module[1].project.bias[2 * WIDTH + 1] = torch.inf
    assert message_of(module, x()).startswith("`1`: expected finite values, and a finite output at CLS")


class Axial(nn.Module):
    """Attention along rows of a grid, with every row as a sample."""

    def __init__(self):
        super().__init__()
        self.block = Block(sdpa)

    def forward(self, x):
        return self.block(x.flatten(0, 1)).view(x.shape)


def test_rows_of_a_grid_are_no_samples():
    assert "windows or groups of tokens" in message_of(Axial(), torch.randn(1, 5, 5, WIDTH))


def exp_and_sum(query, key, value):
    weights = (query @ key.mT / 2).exp()
    return weights / weights.sum(-1, keepdim=True) @ value


def test_layer_that_is_not_seen_beside_siblings_that_are_is_named():
    record = clsight.capture(model(sdpa, exp_and_sum, sdpa), x())
    assert list(record.layer_name.values) == ["0", "2"]
    assert "`1` ran without an attention call that could be seen" in " ".join(record.attrs["notes"])
    assert not clsight.capture(model(sdpa, sdpa), x()).attrs["notes"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_layer_is_named():
    module = model(sdpa, sdpa, sdpa)
    module[1] = torch.jit.trace(module[1], x())
    record = clsight.capture(module, x())
    assert list(record.layer_name.values) == ["0", "2"]
    assert "`1` ran as scripted or traced code" in " ".join(record.attrs["notes"])


class TwoSequences(nn.Module):
    """Queries of one sequence, keys of another one as long, both normed before or after projection."""

    def __init__(self, *, after):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.after = after

    def forward(self, x, other):
        one, two = self.norms
        if self.after:
            query, key = one(self.query(x)), two(self.key(other))
        else:
            query, key = self.query(one(x)), self.key(two(other))
        return sdpa(query[:, None], key[:, None], self.value(other)[:, None])


@pytest.mark.parametrize("after", [True, False])
def test_norms_do_not_hide_cross_attention(after):
    module = nn.Sequential(TwoSequences(after=after))[0]
    assert "cross attention" in message_of(module, (x(), x().flip(0)))


class NormedThrice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        parts = (self.query(self.norm(x)), self.key(self.norm(x)), self.value(self.norm(x)))
        return sdpa(*(part[:, None] for part in parts))


def test_norm_that_is_computed_for_each_projection_makes_no_cross_attention():
    assert clsight.capture(NormedThrice(), x()).sizes["layer"] == 1


class PositionsAdded(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        positions = torch.arange(TOKENS)[:, None] / TOKENS
        return self.attention(x + positions, x + positions, x, need_weights=False)[0]


def test_queries_and_keys_that_are_equal_are_self_attention():
    assert clsight.capture(PositionsAdded(), x()).sizes["layer"] == 1


class ClsAsks(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return self.attention(x[:, :1], x, x, need_weights=False)[0]


def test_first_token_alone_that_asks_is_class_attention():
    record = clsight.capture(ClsAsks(), x())
    assert record.attrs["kernel"][0].endswith("CLS is the only query")


def test_keys_that_the_batch_shares_are_left_out():
    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.slots = nn.Parameter(torch.randn(1, TOKENS, WIDTH))

        def forward(self, x):
            return torch.softmax(x @ self.slots.mT, -1) @ self.slots

    found = message_of(nn.Sequential(Memory()), x())
    assert "are shared by the batch, not its tokens" in found


@pytest.mark.parametrize("low", [-torch.inf, -1e9, -1e4])
def test_additive_mask_in_the_call_says_which_tokens_are_padding(low):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block(lambda q, k, v: sdpa(q, k, v, attn_mask=self.mask))

        def forward(self, x, attention_mask):
            self.mask = attention_mask[:, None, None]
            return self.block(x)

    mask = torch.zeros(SAMPLES, TOKENS)
    mask[1, 6:] = low
    for inputs in ({"x": x(), "attention_mask": mask}, (x(), mask)):
        record = clsight.capture(Masked(), inputs)
        np.testing.assert_array_equal(record.token_mask, mask == 0)
        assert not record.attrs["notes"]


def test_gradient_leaves_the_graph_for_the_users_own_backward():
    module = nn.Sequential(model(sdpa, sdpa), nn.Flatten(), nn.Linear(TOKENS * WIDTH, 3))
    plain = copy.deepcopy(module)
    with clsight.Recorder(module, keep="gradient") as recorder:
        module(x()).square().sum().backward()
    plain(x()).square().sum().backward()
    assert "attends_to_gradient" in recorder.record
    for found, expected in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


def test_gradient_is_that_of_what_attention_gave_where_the_model_changes_it_in_place():
    def classifier(attend):
        return nn.Sequential(model(attend, attend), nn.Flatten(), nn.Linear(TOKENS * WIDTH, 3))

    changing = classifier(lambda q, k, v: (weights_of(q, k) @ v).mul_(3))
    keeping = classifier(lambda q, k, v: (weights_of(q, k) @ v) * 3)
    keeping.load_state_dict(changing.state_dict())
    found, expected = (clsight.capture(one, x(), keep="gradient") for one in (changing, keeping))
    np.testing.assert_array_equal(found["attends_to_gradient"], expected["attends_to_gradient"])


class Flip(nn.Module):
    def forward(self, x):
        return x.flip(1)


def test_cls_that_moves_between_layers_is_refused_with_both_positions():
    module = nn.Sequential(Block(sdpa), Block(sdpa), Flip(), Block(sdpa)).eval()
    assert message_of(module, x()) == (
        "`3`: expected CLS at position 0, as before, but got what left `1` as CLS at position 8. "
        "The model changes the order of its tokens between layers. Capture layer by layer with within=, "
        "such as '3', each with its cls_index."
    )
    assert message_of(module, x(), cls_index=[0, 2]).startswith(
        "`3`: expected CLS at position [0, 2], as before, but got what left `1` as CLS at position [8, 6]."
    )
    assert clsight.capture(module, x(), within="3", cls_index=8).sizes["layer"] == 1
    assert clsight.capture(module, x(), cls_index=4).sizes["layer"] == 3  # the middle of nine stays


def test_equal_tokens_are_no_move():
    module = nn.Sequential(Block(sdpa), Flip(), Block(sdpa)).eval()
    assert clsight.capture(module, torch.ones(SAMPLES, TOKENS, WIDTH)).sizes["layer"] == 2


class Mapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.vmap(lambda one: self.inner(one[None])[0])(x)


def test_forward_inside_vmap_is_refused_with_the_way_out():
    assert message_of(Mapped(model(sdpa)), x()) == (
        "`Recorder`: expected a forward pass on tensors of its own, but got one inside torch.vmap or a "
        "transform of torch.func. Capture a plain call of the module, with the samples as a batch."
    )


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_inputs_are_refused_with_the_way_out(layout):
    nested = torch.nested.nested_tensor([torch.randn(5, WIDTH), torch.randn(3, WIDTH)], layout=layout)
    assert message_of(model(sdpa), nested) == (
        "`inputs`: expected tensors whose samples are equally long, but got a nested tensor. Pad it with "
        "torch.nested.to_padded_tensor, and pass the mask of real tokens."
    )


class TokensFirst(nn.Module):
    """Tokens come before samples in its input, and attention folds heads into the batch."""

    def __init__(self, *attend):
        super().__init__()
        self.blocks = model(*attend)

    def forward(self, x):
        return self.blocks(x.transpose(0, 1)).transpose(0, 1)


def scores_unfolded(query, key, value):
    folded = [part.flatten(0, 1) for part in (query, key, value)]
    scores = torch.bmm(folded[0], folded[1].mT).view(*query.shape[:2], TOKENS, TOKENS) / 2
    weights = torch.softmax(scores + 0.0, -1)
    return torch.bmm(weights.flatten(0, 1), folded[2]).view(query.shape)


def test_scores_with_dimensions_of_their_own_tell_samples_from_heads():
    inputs = torch.randn(TOKENS, 2 * TOKENS, WIDTH)  # samples times heads are a multiple of the tokens too
    record = clsight.capture(TokensFirst(scores_unfolded), inputs)
    expected = clsight.capture(model(sdpa), inputs.transpose(0, 1))
    np.testing.assert_allclose(record.attends_to, expected.attends_to, atol=1e-6)


def test_layers_that_seem_to_have_other_batches_are_refused_with_both_shapes():
    def folded(query, key, value):
        parts = (part.flatten(0, 1) for part in (query, key, value))
        return (sdpa(*parts) * 2).view(query.shape)  # a gate: no projection tells samples from heads

    found = message_of(TokensFirst(sdpa, folded), torch.randn(TOKENS, 2 * TOKENS, WIDTH))
    assert "`blocks.1`: expected the shape of layer blocks.0, (sample=" in found
