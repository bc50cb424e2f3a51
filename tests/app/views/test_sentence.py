"""The sentence above the map, against the same numbers taken from dense attention one at a time."""

import numpy as np
import pytest

from clsight_app.views.sentence import cls_sentence, self_check, uniform_share
from clsight_app.views.wording import percent
from hand_made import patch_record, word_record


def one_example(made, sample):
    return made.record.isel(sample=[sample]), made.dense[sample], made.mask[sample]


@pytest.mark.parametrize("made", [patch_record(), word_record()], ids=["patches", "padded words"])
@pytest.mark.parametrize("sample", [0, 1])
def test_sentence_tells_the_dense_numbers(made, sample):
    record, dense, mask = one_example(made, sample)
    real = int(mask.sum())
    itself = dense[:, :, 0, 0].mean(1)
    received = dense[:, :, 1:real, 0].mean((1, 2))
    spread = np.array(
        [[np.exp(-sum(w * np.log(w) for w in head[0, :real])) for head in layer] for layer in dense]
    )
    layer, head = np.unravel_index(spread.argmin(), spread.shape)
    assert cls_sentence(record) == (
        f"CLS gives {percent(itself.max())} of its attention to itself in layer {itself.argmax()} "
        f"(an even share is {percent(1 / real)}); "
        f"the other tokens give it {percent(received.max())} of theirs in layer {received.argmax()}; "
        f"its most focused head is layer {layer}, head {head}, "
        f"which looks at {spread.min():.1f} of {real} tokens."
    )


def test_sentence_says_when_the_column_is_missing():
    record = patch_record().record.isel(sample=[0]).drop_vars("attended_by")
    assert "; what the other tokens give it is not in the record; its most focused" in cls_sentence(record)


def test_uniform_share_leaves_padding_out():
    assert uniform_share(word_record().record) == pytest.approx(1 / 7)


def test_self_check_tells_the_largest_error():
    record = patch_record().record.isel(sample=[1]).copy(deep=True)
    record["attention_error"][0, 1] = 3e-7
    assert self_check(record).endswith("to within 3e-07.")


def test_self_check_tells_the_reason_when_it_was_not_made():
    record = patch_record().record.copy(deep=True)
    record["attention_error"][:] = np.nan
    record.attrs["absent"] = {"attention_error": "dropout is active"}
    assert self_check(record) == "Self-check: not made (dropout is active)."


def test_sentence_says_when_no_cls_stands_in_its_place():
    record, _, _ = one_example(patch_record(), 0)
    kinds = record["token_kind"].where(record["token_kind"] != "cls", "patch")
    changed = record.assign_coords(token_kind=kinds)
    text = str(record["token_text"].values[0, 0])
    assert cls_sentence(changed) == (
        f"An ordinary token, {text}, is looked at in place of CLS. {cls_sentence(record)}"
    )
