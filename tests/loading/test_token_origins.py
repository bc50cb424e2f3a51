"""Which token of the input stands where: against changing one token at a time, and on modules of users."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import clsight
from changing_sequences import MAPS, WIDTH, Around, flattened, stem, unfolded
from clsight.errors import ClsightError
from clsight.loading import subject_of
from clsight.loading.token_origins import EVERY, FIXED, SEVERAL, layout_of, token_origins
from user_modules import FEATURES

subsets = st.integers(1, 9).flatmap(
    lambda time: st.tuples(st.just(time), st.lists(st.sets(st.integers(0, time - 1)), min_size=1, max_size=7))
)


def reference(time: int, parts: set[int]) -> int:
    """Return what is to be said of a position that is the sum of some tokens."""
    if len(parts) < 2:
        return next(iter(parts), FIXED)
    digits = [{(part + 1) >> digit & 1 for part in parts} for digit in range(len(f"{time:b}"))]
    return EVERY if all(found == {0, 1} for found in digits) else SEVERAL


@settings(deadline=None, max_examples=200)
@given(drawn=subsets)
def test_origins_are_those_of_sums_of_tokens(drawn):
    time, sums = drawn
    weights = torch.tensor([[float(token in parts) for token in range(time)] for parts in sums])
    series = torch.arange(1.0, time + 1)

    def tokens(changed):
        x = series if changed is None else torch.where(changed, series + 100 * series**2, series)
        return (weights @ x)[:, None]

    assert token_origins(tokens, time) == [reference(time, parts) for parts in sums]


@pytest.mark.parametrize("known", MAPS.values(), ids=MAPS.keys())
def test_token_map_is_the_true_one(known):
    torch.manual_seed(0)
    subject = subject_of(known.make(), cls_index=known.cls_index)
    series = np.random.default_rng(0).normal(size=(2, 4, FEATURES))
    prepared = subject.prepare(series)
    assert tuple(prepared.token_text[1]) == known.texts
    assert bool(prepared.notes) == ("token 1" in known.texts)
    record = clsight.capture(subject, series)
    assert record.sizes["token"] == len(known.texts)
    assert record.attrs["notes"][: len(prepared.notes)] == list(prepared.notes)
    kinds = dict(zip(known.texts, record.token_kind.values[0], strict=True))
    assert {text: kind for text, kind in kinds.items() if kind == "cls"} == (
        {"[CLS]": "cls"} if "[CLS]" in known.texts else {}
    )


def test_patches_of_a_stem_stand_on_the_grid_that_its_convolutions_give():
    subject = subject_of(Around(flattened, stem()))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    prepared = subject.prepare(pictures)
    assert prepared.token_kind[0].tolist() == ["cls"] + ["patch"] * 24
    rows, columns = np.indices((4, 6))
    assert prepared.row[0].tolist() == [-1, *rows.ravel().tolist()]
    assert prepared.column[0].tolist() == [-1, *columns.ravel().tolist()]
    assert prepared.token_text[0, -1] == "patch 3,5"
    assert not prepared.notes


def test_patches_that_no_convolution_cut_are_numbered():
    subject = subject_of(Around(unfolded, nn.Linear(48, WIDTH)))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    record = clsight.capture(subject, pictures)
    assert record.token_text.values[0].tolist() == ["[CLS]", *(f"token {n}" for n in range(1, 25))]
    assert "row" not in record.coords
    assert record.attrs["notes"][0] == (
        "The tokens are numbered: which of the 25 that the encoder sees is which part of the input is not "
        "known"
    )


def test_position_beyond_the_sequence_is_refused():
    with pytest.raises(ClsightError, match="`cls_index`: expected a position from 0 to 2, but got 3"):
        layout_of([FIXED, 0, 1], 2, 3)


def test_extra_keys_stand_behind():
    layout = layout_of([FIXED, 1, 0], 2, 0, extra_keys=2)
    assert layout.sources == (-1, 1, 0, -1, -1)
    assert layout.texts == {0: "[CLS]", 3: "[extra key]", 4: "[extra key]"}


def test_module_that_nothing_changes_is_laid_out_by_its_length():
    assert layout_of([FIXED] * 4, 3, 0).sources == (-1, 0, 1, 2)
