"""Where nobody says what tokens are, that is told; what the model's config calls special is not removed."""

import numpy as np
import pytest
import torch

import clsight
from clsight.faithfulness import compare, leave_one_out, randomization_cascade, removal_curves
from clsight.faithfulness.unknown_kinds import with_special_ids
from encoder_builders import TEXT, hugging_face
from hand_run_models import torch_classifier

UNKNOWN = (
    "Kinds of tokens are not known: all but CLS and padding were removed; pass token_kind= if some are "
    "special tokens or registers"
)
SOME_KNOWN = (
    "Kinds of tokens are not known but for the ids 0, 2 that the model's config calls special: all others "
    "but CLS and padding were removed; pass token_kind= if some are special tokens or registers"
)
IDS = torch.tensor([[0, 5, 6, 2, 7, 8, 2], [0, 9, 4, 3, 2, 1, 1]])
"""As RoBERTa has them: <s> 0, </s> 2, <pad> 1."""
WORDS = {"input_ids": IDS, "attention_mask": (IDS != 1).long()}


def text_model(name):
    return hugging_face(
        f"{name}ForSequenceClassification", f"{name}Config", TEXT | {"num_labels": 3}, attention="sdpa"
    )().eval()


def test_plain_module_has_a_note_wherever_tokens_are_removed():
    model = torch_classifier(padded=True)
    effects = leave_one_out(model.module, model.inputs, progress=False)
    assert UNKNOWN in effects.attrs["notes"]
    curves = removal_curves(model.module, model.inputs, effects, steps=2, progress=False)
    assert UNKNOWN in curves.attrs["notes"]  # the kinds of the attribution are no better known
    cascade = randomization_cascade(model.module, model.inputs, progress=False)
    assert UNKNOWN in cascade.attrs["notes"]
    table = compare(model.module, model.inputs, ["attention"], metrics=["leave_one_out_tau"], progress=False)
    assert table.attrs["notes"].count(UNKNOWN) == 1


def test_kinds_that_are_stated_or_known_to_a_subject_have_no_note():
    model = torch_classifier()
    kinds = np.array([["cls"] + ["word"] * 6] * 3)
    effects = leave_one_out(model.module, model.inputs, token_kind=kinds, progress=False)
    assert not any("Kinds" in note for note in effects.attrs["notes"])
    again = removal_curves(model.module, model.inputs, effects, steps=2, progress=False)
    assert not any("Kinds" in note for note in again.attrs["notes"])
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    effects = leave_one_out(subject, subject.examples[:2], progress=False)
    assert not any("Kinds" in note for note in effects.attrs["notes"])


def test_ids_that_the_config_calls_special_are_not_removed():
    effects = leave_one_out(text_model("Roberta"), WORDS, progress=False)
    expected = [
        ["cls", "step", "step", "special", "step", "step", "special"],
        ["cls", "step", "step", "step", "special", "pad", "pad"],
    ]
    assert effects.token_kind.values.tolist() == expected
    np.testing.assert_array_equal(effects.notnull(), np.array(expected) == "step")
    assert SOME_KNOWN in effects.attrs["notes"]
    assert UNKNOWN not in effects.attrs["notes"]


def test_config_without_special_ids_leaves_all_unknown():
    effects = leave_one_out(text_model("Bert"), WORDS, progress=False)
    assert UNKNOWN in effects.attrs["notes"]
    assert set(effects.token_kind.values.ravel().tolist()) == {"cls", "step", "pad"}


def test_stated_kinds_win_over_the_config():
    kinds = np.where(IDS == 1, "pad", "word")
    kinds[:, 0] = "cls"
    effects = leave_one_out(text_model("Roberta"), WORDS, token_kind=kinds, progress=False)
    assert effects.notnull().sum() == (kinds == "word").sum()


@pytest.mark.parametrize("what", ["embeddings", "another length"])
def test_ids_of_another_sequence_tell_nothing(what):
    model = torch_classifier()
    model.module.config = type(
        "Config", (), {"eos_token_id": 2, "bos_token_id": None, "sep_token_id": True}
    )()
    kinds = np.array([["cls", "step"]], dtype=np.dtypes.StringDType())
    ids = torch.tensor([[2.0, 2.0]]) if what == "embeddings" else torch.tensor([[2, 2, 2]])
    found, note = with_special_ids(kinds, model.module, {"input_ids": ids})
    assert found.tolist() == kinds.tolist()
    assert note == UNKNOWN
    found, _ = with_special_ids(kinds, model.module, {"input_ids": torch.tensor([[2, 2]])})
    assert found.tolist() == [["cls", "special"]]
