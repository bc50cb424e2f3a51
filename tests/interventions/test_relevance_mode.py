"""One graph for gradients and relevance: each spelling of an operation, and what has no rule."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional

import clsight
from clsight.interventions.relevance_graph import need_rules
from clsight.interventions.relevance_mode import RelevanceMode
from clsight.interventions.relevance_rules import through_product, through_sum, through_weights
from clsight.interventions.relevance_samples import Samples


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Holder(nn.Module):
    """The module whose weights count as weights."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(drawn(7, 4, 4))
        self.row = nn.Parameter(drawn(8, 4))
        self.register_buffer("fixed", drawn(9, 4, 4))


HELD = Holder()
STATES, RELEVANCE = drawn(1, 1, 3, 4), drawn(2, 1, 3, 4)
WHOLE = Samples(1, 3, lambda: None, asked_by="test")


def both_ways(function):
    """Return the relevance of states, their gradient, and what was made of them: of STATES and RELEVANCE."""
    rules, entered = RelevanceMode(HELD), STATES.clone().requires_grad_()
    with rules:
        read = entered.clone()
        edge = get_gradient_edge(read)
        made = function(read)
    need_rules(made, [edge], asked_by="test")
    given = RELEVANCE.reshape(made.shape)
    (gradient,) = torch.autograd.grad(made, entered, given, retain_graph=True)
    with rules.asking_for(WHOLE):
        (relevance,) = torch.autograd.grad(made, entered, given)
    return relevance, gradient, made.detach()


def written_into(states):
    """Return the states, written into memory that began as a weight's likeness: it is none."""
    made = torch.zeros_like(HELD.matrix)
    made[:3] = states[0]
    made[3] = states[0, 0]
    return made


def unbiased(weight):
    made = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    made.weight = weight
    return made


WEIGHTED = {
    "linear": lambda x: functional.linear(x, HELD.matrix),
    "linear with a bias": lambda x: functional.linear(x, HELD.matrix, bias=HELD.row),
    "a module": unbiased(HELD.matrix),
    "@": lambda x: x @ HELD.matrix.T,
    "@ from the right": lambda x: (HELD.matrix @ x.mT).mT,
    "matmul by name": lambda x: torch.matmul(input=x, other=HELD.matrix.t()),
    "einsum": lambda x: torch.einsum("btc,oc->bto", x, HELD.matrix),
    "addmm": lambda x: torch.addmm(HELD.row, x[0], HELD.matrix.T)[None],
    "bmm": lambda x: torch.bmm(x, HELD.matrix.T[None]),
    "what is made of weights": lambda x: x @ (HELD.matrix * 2).T / 2,
}


@pytest.mark.parametrize("spelling", WEIGHTED)
def test_linear_map_has_its_rule_however_it_is_spelled(spelling):
    relevance, _, _ = both_ways(WEIGHTED[spelling])
    expected = through_weights(RELEVANCE, STATES, HELD.matrix.detach(), functional.linear)
    torch.testing.assert_close(relevance, expected, rtol=1e-7, atol=1e-12)


def test_buffer_is_a_weight_and_what_was_written_into_a_likeness_of_one_is_not():
    relevance, _, _ = both_ways(lambda x: x @ HELD.fixed)
    expected = through_weights(RELEVANCE, STATES, HELD.fixed, torch.matmul)
    torch.testing.assert_close(relevance, expected)
    relevance, _, _ = both_ways(lambda x: x @ written_into(x))
    right = torch.cat([STATES[0], STATES[0, :1]])
    of_left, of_right = through_product(RELEVANCE, STATES, right, torch.matmul)
    of_left[0] += of_right[:3]
    of_left[0, 0] += of_right[3]
    torch.testing.assert_close(relevance, of_left)


SUMMED = {
    "+": (lambda x: x + HELD.row, lambda: HELD.row),
    "+ from the right": (lambda x: HELD.row + x, lambda: HELD.row),
    "+=": (lambda x: x.__iadd__(HELD.row), lambda: HELD.row),
    "add_, alpha": (lambda x: x.add_(HELD.row, alpha=3), lambda: 3 * HELD.row),
    "alpha": (lambda x: torch.add(x, HELD.row, alpha=2), lambda: 2 * HELD.row),
    "-": (lambda x: x - HELD.row, lambda: -HELD.row),
    "- from the right": (lambda x: HELD.row - x, None),
    "rsub": (lambda x: torch.rsub(x, HELD.row), None),
    "a number": (lambda x: x + 0.5, lambda: torch.tensor(0.5)),
    "a number less": (lambda x: 0.5 - x, None),
}


@pytest.mark.parametrize("spelling", SUMMED)
def test_sum_has_its_rule_however_it_is_spelled(spelling):
    function, other = SUMMED[spelling]
    relevance, _, _ = both_ways(function)
    if other is None:
        base = torch.tensor(0.5) if "number" in spelling else HELD.row.detach()
        expected = through_sum(RELEVANCE, -STATES, base.double(), WHOLE)[0]
    else:
        expected = through_sum(RELEVANCE, STATES, other().detach().double(), WHOLE)[0]
    torch.testing.assert_close(relevance, expected)


PASSED_ON = {
    "layer_norm": lambda x: functional.layer_norm(x, (4,), HELD.row, HELD.row),
    "rms_norm": lambda x: functional.rms_norm(x, (4,), HELD.row),
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "relu, in place": lambda x: functional.relu(x, inplace=True),
    "relu_": lambda x: x.relu_(),
    "silu, in place, on a view": lambda x: (functional.silu(x[:, 1:], inplace=True), x)[1],
    "tanh": torch.tanh,
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: functional.log_softmax(x, dim=-1),
    "dropout": lambda x: functional.dropout(x, 0.5, training=True),
    "dropout that is off": lambda x: functional.dropout(x, 0.5, training=False),
    "a factor": lambda x: x * 3,
    "a factor from the left": lambda x: 3 * x,
    "a factor per channel": lambda x: x.mul(HELD.row),
    "a factor, in place": lambda x: x.mul_(HELD.row),
    "a quotient": lambda x: x / HELD.row,
    "the other sign": lambda x: -x,
    "quick GELU": lambda x: x * torch.sigmoid(1.702 * x),
    "GELU by tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3.0)))),
    "a sigmoid in steps": lambda x: x * (1 / (1 + torch.exp(-x))),
    "there and back": lambda x: x.transpose(1, 2).reshape(1, 2, 2, 3).flatten(1, 2).mT.contiguous(),
    "taken apart": lambda x: torch.cat([x[:, :1], *x[:, 1:].split(1, dim=1)], dim=1),
    "written into": lambda x: torch.zeros_like(x).copy_(x),
    "to float32 and back": lambda x: x.float().double(),
}


@pytest.mark.parametrize("spelling", PASSED_ON)
def test_relevance_is_passed_on_as_it_is(spelling):
    relevance, _, _ = both_ways(PASSED_ON[spelling])
    torch.testing.assert_close(relevance, RELEVANCE, rtol=1e-6, atol=1e-7)


def test_product_that_is_added_to_a_mask_is_a_sum_and_a_product():
    mask, others = drawn(3, 1, 3, 4), drawn(4, 1, 4, 4)
    relevance, _, _ = both_ways(lambda x: torch.baddbmm(mask, x, others, beta=2, alpha=0.5))
    _, of_product = through_sum(RELEVANCE, 2 * mask, 0.5 * STATES @ others, WHOLE)
    expected, _ = through_product(of_product, STATES, others, torch.matmul)
    torch.testing.assert_close(relevance, expected)


def test_average_of_tokens_is_shared_by_what_each_added():
    rules, entered = RelevanceMode(HELD), STATES.clone().requires_grad_()
    with rules:
        made = [entered.clone().mean(dim=1), torch.mean(input=entered.clone(), dim=1), entered.clone().sum(1)]
    with rules.asking_for(WHOLE):
        found = [torch.autograd.grad(one, entered, torch.ones(1, 4).double())[0] for one in made]
    for one in found:
        torch.testing.assert_close(one, STATES / STATES.sum(1, keepdim=True), rtol=1e-6, atol=1e-9)


ALL = {**WEIGHTED, **{name: function for name, (function, _) in SUMMED.items()}, **PASSED_ON}


@pytest.mark.parametrize("spelling", [name for name in ALL if name != "dropout"])
def test_results_and_gradients_are_those_without_the_mode(spelling):
    _, gradient, made = both_ways(ALL[spelling])
    entered = STATES.clone().requires_grad_()
    plain = ALL[spelling](entered.clone())
    torch.testing.assert_close(made, plain.detach(), rtol=0, atol=0)
    (expected,) = torch.autograd.grad(plain, entered, RELEVANCE.reshape(plain.shape))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


class Doubled(torch.autograd.Function):
    """A model's own function, which no torch function shows."""

    @staticmethod
    def forward(ctx, states):
        return states * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


REFUSED = {
    "mul": lambda x: x * x.softmax(-1),
    "div": lambda x: x / x.sum(-1, keepdim=True),
    "exp": torch.exp,
    "sin": lambda x: (x[:, 1:].sin_(), x)[1],
    "cumsum": lambda x: x.cumsum(1),
    "doubled": Doubled.apply,
    "glu": lambda x: functional.glu(torch.cat([x, x], dim=-1)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operation_without_a_rule_is_refused_by_name(name):
    with pytest.raises(clsight.CaptureError) as refused:
        both_ways(lambda x: functional.linear(REFUSED[name](x), HELD.matrix))
    assert str(refused.value) == (
        "`test`: expected operations with a rule for relevance, from the first layer to the target, but got "
        f"`{name}`. Ask for chefer, which needs gradients alone."
    )


def test_product_of_functions_of_two_states_is_refused():
    """A gated layer, and a state that was changed since."""

    def gated(x):
        return functional.silu(functional.linear(x, HELD.matrix)) * functional.linear(x, HELD.fixed)

    def changed(x):
        opened = x.sigmoid()
        return opened * x.add_(HELD.row)

    for function in (gated, changed):
        with pytest.raises(clsight.CaptureError, match="but got `mul`"):
            both_ways(function)


def test_topmost_of_several_is_named():
    with pytest.raises(clsight.CaptureError, match="but got `exp`"):
        both_ways(lambda x: x.sin().mT.exp().mT.tanh())


def test_operation_without_a_rule_beside_the_way_down_is_not_refused():
    relevance, _, _ = both_ways(lambda x: (x.exp(), x + x.exp().detach())[1])
    torch.testing.assert_close(relevance, through_sum(RELEVANCE, STATES, STATES.exp(), WHOLE)[0])


def test_operand_that_is_changed_afterwards_is_refused():
    def function(read):
        made = functional.linear(read, HELD.matrix.detach())
        read.fill_(1.0)
        return made

    with pytest.raises(clsight.CaptureError) as refused:
        both_ways(function)
    assert str(refused.value) == (
        "`linear`: expected values that stay as they were until the pass has ended, but got some that were "
        "changed in place. Ask for chefer, which needs gradients alone."
    )


def test_without_gradients_nothing_is_noted():
    with torch.no_grad(), RelevanceMode(HELD):
        made = functional.linear(STATES, HELD.matrix)
    assert made.grad_fn is None


def test_what_ran_is_let_go_without_the_collector():
    gc.disable()
    try:
        rules = RelevanceMode(HELD)
        with rules:
            made = functional.linear(STATES.clone().requires_grad_() + HELD.row, HELD.matrix)
        references = [weakref.ref(rules), weakref.ref(made)]
        del rules, made
        assert not any(reference() for reference in references)
    finally:
        gc.enable()
