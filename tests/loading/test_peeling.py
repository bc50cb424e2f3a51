"""Wrapping is told from the names of tensors alone, and what is left are the model's own names."""

import pytest

from clsight.loading.peeling import best_prefix, peel, without_wrapping

NAMES = ["encoder.layers.0.weight", "encoder.layers.0.bias", "head.weight", "cls"]


@pytest.mark.parametrize(
    "prefix",
    ["", "model.", "module.", "state_dict.", "state_dict.model.", "model_state_dict.module.net.", "weights."],
)
def test_peel_takes_known_wrapping_off(prefix):
    found = peel({f"{prefix}{name}": name for name in NAMES})
    assert found == (prefix, {name: name for name in NAMES})


def test_peel_leaves_the_names_of_a_model_alone():
    names = ["encoder.weight", "encoder.bias", "model_norm.weight"]
    assert peel(dict.fromkeys(names)) == ("", dict.fromkeys(names))


def test_peel_takes_the_weights_rather_than_their_average():
    both = {f"state_dict_ema.{name}": 0 for name in NAMES} | {f"state_dict.{name}": 1 for name in NAMES}
    assert peel(both) == ("state_dict.", dict.fromkeys(NAMES, 1))


def test_peel_takes_off_what_compiling_puts_into_names():
    assert without_wrapping("_orig_mod.encoder._orig_mod.weight") == "encoder.weight"
    assert peel({f"module._orig_mod.{name}": name for name in NAMES}) == (
        "module.",
        {name: name for name in NAMES},
    )


def test_best_prefix_is_the_one_behind_which_most_names_stand():
    names = [f"a.b.{name}" for name in NAMES] + ["head.weight", "c.cls"]
    assert best_prefix(names, NAMES) == "a.b."
    assert best_prefix(["x.y"], NAMES) == ""
    assert (
        best_prefix([f"{prefix}{name}" for prefix in ("ema.", "longer.") for name in NAMES], NAMES)
        == "longer."
    )
