"""Each strategy starts [CLS] from what its docstring says, and draws from its own generators alone."""

import copy

import pytest
import torch
from torch import nn

from clsight.cls_token import CLS_STRATEGIES, ClsToken, make
from clsight.errors import ClsightError

NAMES = (
    "learned",
    "learned_zeros",
    "learned_normal",
    "zeros",
    "fixed_random",
    "random_per_forward",
    "random_in_training",
    "input_mean",
    "mean_pooling",
    "first_token",
)
BATCH, TIME, WIDTH = 3, 5, 7
WIDE = 20_000  # a vector this long has a sample standard deviation within 3 % of the true one (6 sigma)


@pytest.fixture
def tokens():
    return torch.arange(BATCH * TIME * WIDTH, dtype=torch.float32).reshape(BATCH, TIME, WIDTH).sin()


@pytest.fixture
def mask():
    return torch.tensor([[True] * 5, [True, True, True, False, False], [True] + [False] * 4])


def start(name, tokens, mask=None, *, seed=0, **options):
    return make(name, tokens.shape[-1], seed=seed, **options).eval().initial(tokens, mask)


def wide(name, **options):
    return start(name, torch.zeros(1, 1, WIDE), **options)[0]


def test_strategies_are_those_of_the_contract():
    assert set(CLS_STRATEGIES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_strategy_leaves_the_global_random_state_alone(name, tokens):
    before = torch.random.get_rng_state()
    strategy = make(name, WIDTH, seed=1)
    strategy.prepend(tokens, None)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_tells_what_it_answers(name):
    words = CLS_STRATEGIES[name].__doc__
    assert any(word in words for word in ("answers", "asks", "question", "reply", "costs"))


@pytest.mark.parametrize("name", [n for n in NAMES if CLS_STRATEGIES[n].in_sequence])
def test_prepend_puts_cls_in_front_and_marks_it_real(name, tokens, mask):
    strategy = make(name, WIDTH, seed=0).eval()
    longer, longer_mask = strategy.prepend(tokens, mask)
    strategy.reseed()
    assert torch.equal(longer[:, 0], strategy.initial(tokens, mask))
    assert torch.equal(longer[:, 1:], tokens)
    assert torch.equal(longer_mask, torch.cat((torch.ones(BATCH, 1, dtype=torch.bool), mask), dim=1))
    assert torch.equal(strategy.read_out(longer, longer_mask), longer[:, 0])


def test_learned_starts_from_a_truncated_normal():
    vector = wide("learned")
    assert vector.abs().max() <= 0.04
    # A normal cut at two standard deviations keeps 0.880 of its standard deviation.
    assert vector.std().item() == pytest.approx(0.02 * 0.880, rel=0.03)


@pytest.mark.parametrize(
    "name", ["learned_normal", "fixed_random", "random_per_forward", "random_in_training"]
)
def test_normal_start_has_standard_deviation_one(name):
    vector = wide(name)
    assert vector.std().item() == pytest.approx(1.0, rel=0.03)
    assert vector.mean().item() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("name", ["fixed_random", "random_per_forward", "random_in_training"])
def test_std_option_scales_the_draw(name):
    assert torch.allclose(wide(name, std=0.25), wide(name) / 4)


@pytest.mark.parametrize("name", ["zeros", "learned_zeros"])
def test_zero_start_is_zero(name, tokens):
    assert torch.equal(start(name, tokens), torch.zeros(BATCH, WIDTH))


@pytest.mark.parametrize("name", ["learned", "learned_zeros", "learned_normal"])
def test_learned_start_receives_a_gradient(name, tokens):
    strategy = make(name, WIDTH, seed=0)
    (strategy.initial(tokens, None) * tokens[:, 0]).sum().backward()
    assert torch.allclose(strategy.vector.grad, tokens[:, 0].sum(dim=0))


def test_gradient_of_a_layer_norm_at_zero_is_as_large_as_the_docstring_says(tokens):
    strategy = make("learned_zeros", WIDTH, seed=0)
    direction = tokens[0, 0] - tokens[0, 0].mean()
    (nn.LayerNorm(WIDTH)(strategy.initial(tokens, None)[0]) * direction).sum().backward()
    ratio = strategy.vector.grad / direction
    assert torch.allclose(ratio, torch.full((WIDTH,), 1e-5**-0.5), rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("learned")])
def test_constant_start_has_nothing_to_train(name):
    assert list(make(name, WIDTH, seed=0).parameters()) == []


@pytest.mark.parametrize("name", ["fixed_random", "random_in_training"])
def test_fixed_draw_is_saved_and_comes_back(name, tokens):
    first, second = make(name, WIDTH, seed=0), make(name, WIDTH, seed=1)
    assert not torch.equal(first.vector, second.vector)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval().initial(tokens, None), second.eval().initial(tokens, None))


def test_random_per_forward_draws_per_sample_and_anew_in_eval(tokens):
    strategy = make("random_per_forward", WIDTH, seed=0).eval()
    first, second = strategy.initial(tokens, None), strategy.initial(tokens, None)
    assert len(torch.unique(torch.cat((first, second)), dim=0)) == 2 * BATCH


def test_random_per_forward_draws_one_per_batch_when_shared(tokens):
    strategy = make("random_per_forward", WIDTH, seed=0, shared=True).eval()
    first, second = strategy.initial(tokens, None), strategy.initial(tokens, None)
    assert torch.equal(first, first[:1].expand(BATCH, -1))
    assert not torch.equal(first, second)


def test_reseed_repeats_the_draws(tokens):
    strategy = make("random_per_forward", WIDTH, seed=3).eval()
    at_construction = [strategy.initial(tokens, None) for _ in range(2)]
    strategy.reseed()
    assert torch.equal(strategy.initial(tokens, None), at_construction[0])
    assert torch.equal(strategy.initial(tokens, None), at_construction[1])
    strategy.reseed(4)
    assert torch.equal(strategy.initial(tokens, None), start("random_per_forward", tokens, seed=4))


def test_copy_of_a_random_strategy_draws_on_its_own(tokens):
    strategy = make("random_per_forward", WIDTH, seed=3).eval()
    twin = copy.deepcopy(strategy)
    assert torch.equal(strategy.initial(tokens, None), twin.initial(tokens, None))
    assert not torch.equal(strategy.initial(tokens, None), start("random_per_forward", tokens, seed=3))


def test_random_in_training_is_fixed_in_eval_alone(tokens):
    strategy = make("random_in_training", WIDTH, seed=0)
    assert (
        len(torch.unique(torch.cat([strategy.initial(tokens, None) for _ in range(2)]), dim=0)) == 2 * BATCH
    )
    strategy.eval()
    assert torch.equal(strategy.initial(tokens, None), strategy.vector.expand(BATCH, -1))


def test_draws_once_and_draws_per_forward_are_independent_streams(tokens):
    strategy = make("random_in_training", WIDTH, seed=0)
    one_sample = tokens[:1]  # as many numbers as the vector has: torch draws 16 or more in another way
    assert not torch.equal(strategy.initial(one_sample, None)[0], strategy.vector)


def test_draws_are_not_those_of_a_generator_with_the_same_seed():
    plain = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(make("fixed_random", WIDTH, seed=0).vector, plain)


@pytest.mark.parametrize("name", ["input_mean", "mean_pooling"])
def test_mean_counts_real_tokens_alone(name, tokens, mask):
    tokens[1, 3] = torch.nan  # padding may hold anything
    strategy = make(name, WIDTH, seed=0)
    mean = strategy.initial(tokens, mask) if name == "input_mean" else strategy.read_out(tokens, mask)
    for sample, count in enumerate((5, 3, 1)):
        slow = sum(tokens[sample, time] for time in range(count)) / count
        assert torch.allclose(mean[sample], slow, atol=1e-6)  # float32 sums of five numbers below 1


@pytest.mark.parametrize("name", ["mean_pooling", "first_token"])
def test_control_puts_nothing_in_front(name, tokens, mask):
    same, same_mask = make(name, WIDTH, seed=0).prepend(tokens, mask)
    assert same is tokens
    assert same_mask is mask


def test_first_token_reads_the_first_ordinary_token(tokens, mask):
    assert torch.equal(make("first_token", WIDTH, seed=0).read_out(tokens, mask), tokens[:, 0])


@pytest.mark.parametrize("name", [n for n in NAMES if CLS_STRATEGIES[n].in_sequence])
def test_start_follows_dtype_of_the_tokens(name, tokens):
    assert start(name, tokens.double()).dtype == torch.float64


@pytest.fixture
def own_strategy():
    class Ones(ClsToken, name="ones"):
        def __init__(self, width, *, seed, size=1.0):
            super().__init__(width, seed=seed)
            self.register_buffer("vector", size * torch.ones(width))

    yield Ones
    del CLS_STRATEGIES["ones"]


def test_subclass_is_a_strategy_with_its_options(own_strategy, tokens):
    assert isinstance(make("ones", WIDTH, seed=0), own_strategy)
    assert torch.equal(start("ones", tokens, size=2.5), torch.full((BATCH, WIDTH), 2.5))


def test_subclass_may_not_take_anothers_name():
    with pytest.raises(
        ClsightError, match=r"expected a new name, but got `zeros`, the name of clsight\.cls_token"
    ):

        class Mine(ClsToken, name="zeros"):
            pass

    assert CLS_STRATEGIES["zeros"].__name__ == "Zeros"


def test_make_names_the_nearest_strategy():
    with pytest.raises(ClsightError) as caught:
        make("lerned", WIDTH, seed=0)
    assert str(caught.value) == (
        "`strategy`: expected a known initialization strategy, but got `lerned`. Did you mean `learned`? "
        f"Options: {', '.join(sorted(NAMES))}."
    )


def test_make_names_the_nearest_option():
    with pytest.raises(ClsightError) as caught:
        make("random_per_forward", WIDTH, seed=0, share=True)
    assert str(caught.value) == (
        "`strategy random_per_forward`: expected a known option, but got `share`. Did you mean `shared`? "
        "Options: shared, std."
    )


def test_make_says_when_a_strategy_takes_no_options():
    with pytest.raises(ClsightError, match="`zeros` takes no options"):
        make("zeros", WIDTH, seed=0, std=1.0)


@pytest.mark.parametrize("std", ["1", 0, -1.0, float("nan"), True])
def test_make_refuses_a_std_that_is_no_positive_number(std):
    with pytest.raises(ClsightError, match=r"expected a positive number as std, but got .*default, 1\.0"):
        make("fixed_random", WIDTH, seed=0, std=std)


def test_strategy_is_a_module_that_other_models_can_use(tokens):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls = make("learned", WIDTH, seed=0)

        def forward(self, x):
            return self.cls.prepend(x, None)[0]

    assert Other()(tokens).shape == (BATCH, 1 + TIME, WIDTH)
