"""The sentences on how a model was loaded: counted, by layer, and no longer than a line or two."""

from clsight.loading.provenance_words import loading_notes


def test_whole_weights_need_no_sentence():
    assert loading_notes({"missing": {}, "unexpected": {}}) == ()
    assert loading_notes({}) == ()


def test_one_weight_is_told_as_one():
    told = {"missing": {"head": ["bias"]}, "unexpected": {"": ["scale"]}}
    assert loading_notes(told) == (
        "1 weight was not in the file and keeps its start: `head` (1)",
        "1 weight of the file found no place: `scale`",
    )


def test_many_layers_are_cut():
    layers = {f"layers.{number}": ["weight", "bias"] for number in range(6)}
    assert loading_notes({"missing": layers, "unexpected": {}}) == (
        "12 weights were not in the file and keep their start: `layers.0` (2), `layers.1` (2), "
        "`layers.2` (2), `layers.3` (2) and 2 more",
    )
