"""What is measured of a trained model, against loops in float64 and against answers known beforehand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.study import measurements
from clsight.study.measurements.attending import weights_of_a_silent_cls
from clsight.study.measurements.drawing import icc
from clsight.study.tasks import Part

TIME, WIDTH, HEADS, CLASSES = 5, 8, 2, 3
CONFIG = ModelConfig(
    classes=CLASSES, width=WIDTH, heads=HEADS, layers=2, feedforward=12, embedding="none", max_time=TIME
)


def model_of(strategy="learned", **settings):
    model = ClassificationTransformer(replace(CONFIG, strategy=strategy, **settings)).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:  # attention far from even
                weight.copy_(
                    torch.randn(weight.shape, generator=generator) * (0.6 if "in_proj" in name else 0.3)
                )
    return model


def part_of(samples=4, *, padded=False):
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(TIME) < torch.tensor([5, 3, 4, 2])[:, None] if padded else None
    inputs = torch.randn(samples, TIME, WIDTH, generator=generator)
    return Part(inputs, torch.arange(samples) % CLASSES, mask)


def dense(model, part):
    """Return float64 weights and scores `[layer][sample, head, query, key]`, and real tokens with CLS."""
    double = ClassificationTransformer(model.config)
    double.load_state_dict(model.state_dict())
    double.double()
    seen = []
    for layer in double.encoder.layers:
        layer.self_attn.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    double.eval()(part.inputs.double(), part.token_mask)
    real = np.ones((len(part), TIME + 1), dtype=bool)
    if part.token_mask is not None:
        real[:, 1:] = part.token_mask.numpy()
    layers = []
    for layer, x in zip(double.encoder.layers, seen, strict=True):
        attention = layer.self_attn
        made = (
            torch.nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias).detach().numpy()
        )
        size = WIDTH // HEADS
        scores = np.full((len(part), HEADS, TIME + 1, TIME + 1), -np.inf)
        for sample, head, i, j in np.ndindex(scores.shape):
            if real[sample, j]:
                query = made[sample, i, head * size : (head + 1) * size]
                key = made[sample, j, WIDTH + head * size : WIDTH + (head + 1) * size]
                scores[sample, head, i, j] = query @ key / math.sqrt(size)
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        layers.append((weights, scores))
    return layers, real


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_at_cls_is_that_of_dense_weights(norm, padded):
    model, part = model_of(norm=norm), part_of(padded=padded)
    found = measurements.attention_at_cls(model, part)
    layers, real = dense(model, part)
    assert found["even_share"] == pytest.approx(np.mean(1 / real.sum(1)))
    for number, (weights, scores) in enumerate(layers):
        to_itself, to_cls, silent, entropies = [], [], [], []
        for sample, head in np.ndindex(len(part), HEADS):
            row = weights[sample, head, 0]
            to_itself.append(row[0])
            held = row[row > 0]
            entropies.append(-(held * np.log(held)).sum() / np.log(real[sample].sum()))
            for token in range(1, TIME + 1):
                if real[sample, token]:
                    to_cls.append(weights[sample, head, token, 0])
                    silent.append(1 / (1 + np.exp(scores[sample, head, token, 1:]).sum()))
        assert found[f"cls_to_cls_{number}"] == pytest.approx(np.mean(to_itself), rel=1e-5)
        assert found[f"others_to_cls_{number}"] == pytest.approx(np.mean(to_cls), rel=1e-5)
        assert found[f"cls_entropy_{number}"] == pytest.approx(np.mean(entropies), rel=1e-5)
        assert found[f"others_to_cls_if_silent_{number}"] == pytest.approx(np.mean(silent), rel=1e-5)


def test_a_cls_of_zeros_without_biases_is_silent_and_looks_nowhere():
    model = model_of("zeros", bias=False, position="none")
    found = measurements.attention_at_cls(model, part_of())
    assert found["cls_entropy_0"] == pytest.approx(1.0, abs=1e-6)
    assert found["cls_to_cls_0"] == pytest.approx(1 / (TIME + 1), rel=1e-6)
    assert found["others_to_cls_0"] == pytest.approx(found["others_to_cls_if_silent_0"], rel=1e-6)
    assert math.isnan(measurements.share_of_initial_vector(model, part_of())["initial_share"])


def test_silent_weights_leave_the_model_as_it_was():
    model = model_of()
    weights_of_a_silent_cls(model, part_of())
    assert not any(part._forward_pre_hooks for part in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_share_of_the_initial_vector_is_all_where_nothing_else_asks():
    alone = model_of(bias=False, position="none", norm="post")
    assert measurements.share_of_initial_vector(alone, part_of())["initial_share"] == pytest.approx(1.0)
    helped = model_of(bias=True, position="with_cls", norm="post")
    with torch.no_grad():
        helped.cls_token.vector.zero_()
    assert measurements.share_of_initial_vector(helped, part_of())["initial_share"] == pytest.approx(0.0)


def test_where_no_cls_is_in_the_sequence_nothing_is_measured_of_it():
    for strategy in ("mean_pooling", "first_token"):
        model, part = model_of(strategy), part_of()
        for measure in (
            measurements.attention_at_cls,
            measurements.share_of_initial_vector,
            measurements.effect_of_cutting_cls,
            measurements.accuracy_after_swaps,
            measurements.gradient_at_start,
            measurements.spread_over_draws,
        ):
            assert measure(model, part) == {}


def test_cutting_cls_in_one_layer_changes_nothing_and_in_two_it_does():
    one = measurements.effect_of_cutting_cls(model_of(layers=1), part_of())
    assert one == pytest.approx(dict.fromkeys(one, 0.0), abs=1e-9)
    two = measurements.effect_of_cutting_cls(model_of(layers=2), part_of())
    assert two["cut_mask_kl"] > 1e-6
    assert two["cut_zero_kl"] > 1e-6
    assert set(one) == {"cut_mask_kl", "cut_mask_changed", "cut_zero_kl", "cut_zero_changed"}


def test_spread_over_draws_is_that_of_loops():
    model, part = model_of("random_per_forward"), part_of()
    found = measurements.spread_over_draws(model, part, draws=6)
    answers = []
    for seed in range(6):
        model.reseed(seed)
        with torch.no_grad():
            answers.append(model(part.inputs).double().softmax(-1).numpy())
    answers = np.array(answers)
    predicted = answers.argmax(-1)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    flips = [predicted[i, s] != predicted[j, s] for s in range(4) for i, j in pairs]
    assert found["flip_rate"] == pytest.approx(np.mean(flips))
    of_true = np.array([[answers[d, s, int(part.labels[s])] for s in range(4)] for d in range(6)])
    assert found["probability_spread"] == pytest.approx(of_true.std(0, ddof=1).mean())
    votes = [np.bincount(predicted[:, s], minlength=CLASSES).argmax() for s in range(4)]
    assert found["vote_accuracy"] == np.mean(votes == part.labels.numpy())
    assert found["icc"] == pytest.approx(one_way(of_true))
    assert measurements.spread_over_draws(model_of("learned"), part) == {}


def one_way(values):
    """ICC(1) by sums of squares, [draw, sample] (Shrout & Fleiss 1979)."""
    draws, samples = values.shape
    grand = values.mean()
    between = sum(draws * (values[:, s].mean() - grand) ** 2 for s in range(samples)) / (samples - 1)
    within = sum((values[d, s] - values[:, s].mean()) ** 2 for d in range(draws) for s in range(samples))
    within /= samples * (draws - 1)
    return (between - within) / (between + (draws - 1) * within)


def test_icc_of_known_values():
    same = torch.tensor([[1.0, 2.0, 3.0]] * 4, dtype=torch.float64)
    assert icc(same) == pytest.approx(1.0)
    noise = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert icc(noise) == pytest.approx(-1.0)  # below 0: samples differ less than draws do
    assert math.isnan(icc(torch.ones(3, 2)))


def test_swaps_change_cls_alone():
    model, part = model_of(), part_of(samples=30)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = measurements.accuracy_after_swaps(model, part)
    assert set(found) == {f"accuracy_with_{name}" for name in ("zeros", "fixed_random", "random_per_forward")}
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    with torch.no_grad():
        model.cls_token.vector.zero_()
        expected = (model(part.inputs).argmax(-1) == part.labels).double().mean()
    assert found["accuracy_with_zeros"] == float(expected)


def test_gradient_of_zeros_in_a_pre_norm_model_is_large_and_finite_in_float16():
    """METHODS: the norm divides by √eps there, 316 for torch's 1e-5."""
    settings = {"position": "none", "norm": "pre"}
    zeros = measurements.gradient_at_start(model_of("learned_zeros", **settings), part_of())
    unit = model_of("learned", strategy_options={"std": 1.0}, **settings)
    assert (
        zeros["gradient_at_start"] > 20 * measurements.gradient_at_start(unit, part_of())["gradient_at_start"]
    )
    assert zeros["gradient_at_start_float16"] == pytest.approx(zeros["gradient_at_start"], rel=0.05)
    assert measurements.gradient_at_start(model_of("zeros"), part_of()) == {}
