"""ICC and flip rate against loops, and at their ends."""

import re

import numpy as np
import pytest
import torch

import clsight
from clsight.doctor.repeats import difference, flip_rate, icc
from doctor import patients


def answers(noise, draws=5, samples=7, channels=3):
    generator = torch.Generator().manual_seed(0)
    of_sample = torch.randn(1, samples, channels, generator=generator, dtype=torch.float64)
    return of_sample + noise * torch.randn(draws, samples, channels, generator=generator, dtype=torch.float64)


def slow_icc(values):
    draws, samples, channels = values.shape
    within = between = 0.0
    for channel in range(channels):
        means = [np.mean([values[d, s, channel] for d in range(draws)]) for s in range(samples)]
        within += np.mean(
            [np.var([values[d, s, channel] for d in range(draws)], ddof=1) for s in range(samples)]
        )
        between += np.var(means, ddof=1)
    between -= within / draws
    return between / (between + within)


@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0])
def test_icc_equals_the_slow_formula(noise):
    values = answers(noise)
    assert icc(values) == pytest.approx(slow_icc(values.numpy()), abs=1e-12)


def test_icc_is_one_without_noise_and_undefined_for_one_sample():
    assert icc(answers(0.0)) == 1.0
    assert np.isnan(icc(answers(1.0, samples=1)))


def test_flip_rate_equals_the_share_of_pairs_that_disagree():
    values = answers(1.0)
    classes = values.argmax(2).numpy()
    pairs = [(a, b) for a in range(5) for b in range(5) if a < b]
    expected = np.mean([[classes[a, s] != classes[b, s] for a, b in pairs] for s in range(7)])
    assert flip_rate(values) == pytest.approx(expected)
    assert flip_rate(answers(0.0)) == 0.0


def test_difference_equals_the_root_mean_square_over_pairs():
    values = answers(1.0)
    one = values.numpy()
    pairs = [(a, b) for a in range(5) for b in range(5) if a < b]
    squares = [(one[a, s, c] - one[b, s, c]) ** 2 for a, b in pairs for s in range(7) for c in range(3)]
    assert difference(values) == pytest.approx(np.sqrt(np.mean(squares)) / np.sqrt(np.mean(one**2)))
    assert difference(answers(0.0)) == 0.0


def told_of(module, **options):
    findings = clsight.diagnose(module, patients.series(), **options)
    return next(item.sentence for item in findings.warnings if item.check == "cls_is_fixed")


def test_classes_are_told_only_where_the_output_is_known_to_be_logits():
    """One tensor `[sample, channel]` may be a representation, and then its largest channel is no class."""
    module = patients.redrawn_cls()
    forward = type(module).forward
    unknown = r", and two passes differ by \d+(\.\d+)? times its typical size\.$"
    classes = r", and two passes disagree on the class of \d+\.\d % of them\.$"
    assert re.search(unknown, told_of(module))
    assert re.search(classes, told_of(module, output=lambda output: output))
    patients.changed(module, forward=lambda self, x: {"logits": forward(self, x)})
    assert re.search(classes, told_of(module))
