"""Another vector enters a trained model as [CLS]: compared with copies whose weights are overwritten."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.cls_token import make, replaced
from clsight.loading import Examples
from clsight.loading.subject import ClsVector
from encoder_builders import pixels
from replaceable_models import (
    CLS,
    LOADED,
    PARAMETER,
    assert_same,
    bert,
    native_vit,
    overwritten,
    own,
    run,
    state,
    std_of,
    subject_of,
)


@pytest.fixture(params=LOADED.values(), ids=LOADED)
def subject(request):
    return request.param()


@pytest.fixture(params=PARAMETER.values(), ids=PARAMETER)
def with_parameter(request):
    return request.param()


def test_zeros_are_as_if_the_vector_were_overwritten(subject):
    width = subject.cls_vector.values.numel()
    with replaced(subject, "zeros"):
        found = run(subject)
    assert torch.equal(found, run(subject, overwritten(subject, torch.zeros(width))))
    assert not torch.equal(found, run(subject))


def test_fixed_random_is_one_draw_with_the_std_of_the_trained_vector(subject):
    width, std = subject.cls_vector.values.numel(), std_of(subject)
    vector = make("fixed_random", width, seed=5, std=std).vector
    with replaced(subject, "fixed_random", seed=5):
        found = [run(subject), run(subject)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], run(subject, overwritten(subject, vector)))


def test_fixed_random_takes_a_std(subject):
    width = subject.cls_vector.values.numel()
    vector = make("fixed_random", width, seed=0, std=3.0).vector
    with replaced(subject, "fixed_random", std=3):
        found = run(subject)
    assert torch.equal(found, run(subject, overwritten(subject, vector)))


def test_random_per_forward_draws_anew_at_each_forward_and_the_same_after_a_new_start(subject):
    with replaced(subject, "random_per_forward", seed=1):
        first, second = run(subject), run(subject)
    with replaced(subject, "random_per_forward", seed=1):
        again = run(subject)
    with replaced(subject, "random_per_forward", seed=2):
        other = run(subject)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_random_per_forward_draws_once_for_the_batch_where_cls_is_a_parameter(with_parameter):
    subject = with_parameter
    token = make("random_per_forward", subject.cls_vector.values.numel(), seed=1, std=std_of(subject))
    vectors = [token.draw(1, token.std, torch.empty(0))[0] for _ in range(2)]
    with replaced(subject, "random_per_forward", seed=1):
        found = [run(subject), run(subject)]
    for output, vector in zip(found, vectors, strict=True):
        assert torch.equal(output, run(subject, overwritten(subject, vector)))


def test_random_per_forward_draws_for_each_sample_in_a_word_embedding():
    subject = bert()
    token = make("random_per_forward", 24, seed=1, std=std_of(subject))
    vectors = token.draw(3, token.std, torch.empty(0))
    with replaced(subject, "random_per_forward", seed=1):
        found = run(subject)
    for sample, vector in enumerate(vectors):
        expected = run(subject, overwritten(subject, vector))[sample]
        assert torch.equal(found[sample], expected)


def test_everything_is_as_before_after_the_block(subject):
    before, output = state(subject), run(subject)
    with replaced(subject, "random_per_forward") as inside:
        assert inside is subject
        assert subject.strategy == "random_per_forward"
        run(subject)
    assert_same(state(subject), before)
    assert torch.equal(run(subject), output)


def test_everything_is_as_before_after_an_exception(subject):
    before = state(subject)
    with pytest.raises(TypeError), replaced(subject, "zeros"):
        subject.module("not", "what", "it", "takes", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert_same(state(subject), before)


def test_no_weight_is_written_inside_the_block(subject):
    before = state(subject)
    with replaced(subject, "zeros"):
        run(subject)
        inside = state(subject)
    for name in ("numbers", "tensors", "modes", "random"):
        before_only = {key: inside[key] if key != name else before[key] for key in inside}
        assert_same(before_only, inside)


def test_the_inner_of_two_blocks_counts(subject):
    width = subject.cls_vector.values.numel()
    with replaced(subject, "zeros"):
        outer = run(subject)
        with replaced(subject, "fixed_random", std=2.0):
            inner = run(subject)
            assert subject.strategy == "fixed_random"
        assert torch.equal(run(subject), outer)
        assert subject.strategy == "zeros"
    vector = make("fixed_random", width, seed=0, std=2.0).vector
    assert torch.equal(inner, run(subject, overwritten(subject, vector)))
    assert not torch.equal(inner, outer)


def test_other_threads_read_the_trained_vector(subject):
    output, found = run(subject), []
    with replaced(subject, "zeros"):
        thread = threading.Thread(target=lambda: found.append(run(subject)))
        thread.start()
        thread.join()
        assert not torch.equal(run(subject), output)
    assert torch.equal(found[0], output)


def test_other_threads_capture_after_the_block():
    subject, order = native_vit(), []

    def capture_elsewhere():
        record = clsight.capture(subject.module, pixels(name="images"))
        order.append(("captured", float(record.attends_to[0, 0, 0, 0])))

    thread = threading.Thread(target=capture_elsewhere)
    with replaced(subject, "zeros"):
        thread.start()
        thread.join(timeout=0.5)
        order.append(("left", 0.0))
    thread.join()
    trained = clsight.capture(subject.module, pixels(name="images"))
    assert order == [("left", 0.0), ("captured", float(trained.attends_to[0, 0, 0, 0]))]


def test_captured_maps_are_those_of_the_overwritten_copy(subject):
    width = subject.cls_vector.values.numel()
    inputs = subject.prepare(Examples(np.zeros((3, 1)))).inputs
    trained = clsight.capture(subject.module, inputs)
    with replaced(subject, "zeros"):
        found = clsight.capture(subject.module, inputs)
    expected = clsight.capture(overwritten(subject, torch.zeros(width)), inputs)
    assert found.drop_attrs().identical(expected.drop_attrs())
    assert float(found.attention_error.max()) < 1e-5
    assert float(abs(found.attends_to - trained.attends_to).max()) > 1e-3


def test_a_captured_subject_says_the_strategy():
    subject = own()
    series = Examples(np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32))
    with replaced(subject, "zeros"):
        assert clsight.capture(subject, series).attrs["strategy"] == "zeros"
    assert clsight.capture(subject, series).attrs["strategy"] == "learned"


def test_the_same_id_at_other_positions_is_untouched():
    subject = bert()
    inputs = subject.prepare(Examples(np.zeros((3, 1)))).inputs
    inputs["input_ids"][0, 4] = CLS
    embedding = subject.module.get_input_embeddings()
    with replaced(subject, "zeros"), torch.no_grad():
        found = embedding(inputs["input_ids"])
    expected = embedding(inputs["input_ids"]).detach()
    assert torch.equal(found[:, 0], torch.zeros(3, 24))
    assert torch.equal(found[:, 1:], expected[:, 1:])


def test_samples_without_cls_keep_their_first_token():
    subject = bert()
    inputs = subject.prepare(Examples(np.zeros((3, 1)))).inputs
    inputs["input_ids"][1, 0] = 7
    trained = run(subject)
    with replaced(subject, "zeros"):
        found = run(subject)
    assert torch.equal(found[1], trained[1])
    assert not torch.equal(found[0], trained[0])


def test_gradients_reach_every_other_weight(subject):
    inputs = subject.prepare(Examples(np.zeros((3, 1)))).inputs
    with replaced(subject, "zeros"):
        output = subject.module(**inputs)
        (output if isinstance(output, torch.Tensor) else output[0]).square().sum().backward()
    place, named = subject.cls_vector, dict(subject.module.named_parameters())
    if place.row is None:
        assert place.tensor.grad is None
    without = [name for name, held in named.items() if held.grad is None and held is not place.tensor]
    assert without == [name for name in without if "pooler" in name]


def test_every_draw_leaves_the_random_state_of_the_process(subject):
    state_of_torch, state_of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    for strategy in ("fixed_random", "random_per_forward"):
        with replaced(subject, strategy):
            run(subject)
    assert torch.equal(torch.get_rng_state(), state_of_torch)
    assert np.array_equal(np.random.get_state()[1], state_of_numpy)


@pytest.mark.parametrize("strategy", ["zeros", "fixed_random", "random_per_forward", "input_mean"])
def test_models_of_clsight_take_the_strategy_itself(strategy):
    subject = own(seed=3)
    options = {"std": 0.5} if "random" in strategy else {}
    other = own(strategy, seed=3, strategy_options=options)
    weights = {
        name: tensor for name, tensor in subject.module.state_dict().items() if "cls_token" not in name
    }
    other.module.load_state_dict(weights, strict=False)
    other.module.cls_token = make(strategy, 8, seed=9, **options)
    x = torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(0))
    before = state(subject)
    with torch.no_grad(), replaced(subject, strategy, seed=9, **options):
        found = subject.module(x)
    with torch.no_grad():
        assert torch.equal(found, other.module(x))
    assert_same(state(subject), before)


def test_models_of_clsight_that_draw_keep_the_std_they_were_trained_with():
    subject = own("random_per_forward", strategy_options={"std": 0.25})
    with replaced(subject, "fixed_random"):
        vector = subject.module.cls_token.vector
    assert torch.equal(vector, make("fixed_random", 8, seed=0, std=0.25).vector)


def test_reseed_starts_the_draws_of_the_replacement_anew():
    subject = own()
    x = torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), replaced(subject, "random_per_forward"):
        first = subject.module(x)
        subject.reseed()
        assert torch.equal(subject.module(x), first)


class Registered(nn.Module):
    """A class whose subclasses must state a name, as those of `ClsToken` do."""

    def __init_subclass__(cls, *, name, **options):
        raise AssertionError("no class was defined here")

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x):
        return torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)


def test_the_class_of_a_model_does_not_hear_of_the_replacement():
    module = Registered()
    subject = subject_of(module, {"x": torch.ones(3, 2, 4)}, ClsVector(module.cls_token))
    with replaced(subject, "zeros"):
        assert type(module).__qualname__ == "Registered"
        assert isinstance(module, Registered)
        assert float(run(subject)[:, 0].abs().max()) == 0
    assert type(module) is Registered


def test_a_copy_made_inside_the_block_is_as_trained_after_it(subject):
    output = run(subject)
    with replaced(subject, "zeros"):
        module = copy.deepcopy(subject.module)
    assert torch.equal(run(subject, module), output)
