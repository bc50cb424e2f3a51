"""Slow, obvious float64 versions of the metrics of faithfulness: loops over single tokens, no shared code.

Answers come from the hand-written encoder of `reference_interventions`, one sample and one set of tokens at a
time. What is removed is a set of positions.
"""

from fractions import Fraction
from math import ceil, sqrt

import numpy as np

from reference import softmax
from reference_interventions import layer_after, nothing


def probability(case, states, padded, target):
    """p(target) of one sample, from what enters its first layer, [token, channel]."""
    for block in case.blocks:
        states = layer_after(block, states, padded=padded, change=nothing)
    return softmax(case.read(states[case.cls]))[target]


def hidden(case, sample, removed, target):
    """p(target) with tokens taken for padding."""
    padded = [bool(case.padding[sample, j]) or j in removed for j in range(case.padding.shape[1])]
    return probability(case, case.entering[sample], padded, target)


def cut_out(case, sample, removed, target):
    """p(target) of the shorter sequence."""
    left = [j for j in range(case.padding.shape[1]) if j not in removed]
    return probability(case, case.entering[sample][left], case.padding[sample][left], target)


def replaced(case, sample, removed, target, *, by):
    """p(target) with the vector `by(sample)` in the place of tokens."""
    states = case.entering[sample].copy()
    for j in removed:
        states[j] = by(sample)
    return probability(case, states, case.padding[sample], target)


def predicted(case, sample):
    states = case.entering[sample]
    for block in case.blocks:
        states = layer_after(block, states, padded=case.padding[sample], change=nothing)
    return int(np.argmax(case.read(states[case.cls])))


def ranked(scores, removable):
    """Positions of one sample, the highest score first, of equal ones the earlier."""
    return sorted((j for j in range(len(scores)) if removable[j]), key=lambda j: (-scores[j], j))


def count_at(step, steps, tokens):
    return ceil(Fraction(step, steps) * tokens)


def curves(answer, scores, removable, *, steps):
    """Deletion, insertion and the share removed, each a list over 0, 1, …, steps; `answer(removed)` is p."""
    order = ranked(scores, removable)
    deletion, insertion, shares = [], [], []
    for step in range(steps + 1):
        count = count_at(step, steps, len(order))
        deletion.append(answer(set(order[:count])))
        insertion.append(answer(set(order[count:])))
        shares.append(count / len(order))
    return deletion, insertion, shares


def scores_of_curves(deletion, insertion, shares, *, fraction):
    """All six numbers, by name; `fraction` is the place of the one that comprehensiveness asks for."""
    whole, steps = deletion[0], len(deletion) - 1
    areas = [0.0, 0.0]
    for number, curve in enumerate((deletion, insertion)):
        for step in range(steps):
            areas[number] += (shares[step + 1] - shares[step]) * (curve[step] + curve[step + 1]) / 2
    return {
        "comprehensiveness": whole - deletion[fraction],
        "sufficiency": whole - insertion[fraction],
        "aopc_comprehensiveness": sum(whole - deletion[step] for step in range(1, steps + 1)) / steps,
        "aopc_sufficiency": sum(whole - insertion[step] for step in range(1, steps + 1)) / steps,
        "deletion_area": areas[0],
        "insertion_area": areas[1],
    }


def tau_b(x, y):
    """Kendall's τ-b by looking at every pair."""
    balance = apart_in_x = apart_in_y = 0
    for i in range(len(x)):
        for j in range(i):
            balance += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            apart_in_x += x[i] != x[j]
            apart_in_y += y[i] != y[j]
    return balance / sqrt(apart_in_x * apart_in_y)


def average_precision(scores, marked):
    """Σ (R_n − R_{n−1}) P_n, a threshold at each distinct score."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = [mark for score, mark in zip(scores, marked, strict=True) if score >= threshold]
        recall = sum(above) / sum(marked)
        total += (recall - before) * sum(above) / len(above)
        before = recall
    return total


def pointed(scores, marked):
    """Share of evidence among the tokens that share the highest score."""
    highest = [mark for score, mark in zip(scores, marked, strict=True) if score == max(scores)]
    return sum(highest) / len(highest)
