"""What `clsight.compare` tells of two records: against loops, and where the answer is known by hand."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import clsight
import reference_comparison
from clsight import RecordError, compare
from clsight.changes.measuring import head_changes
from hand_made import patch_record, word_record
from kept_records import kept_record

LOADED = """
import json, sys
import clsight
before, after = (clsight.open_record(path) for path in sys.argv[1:])
clsight.compare(before, after).to_json()
print(json.dumps(sorted(sys.modules)))
"""


def without_answers(record):
    return record.drop_vars(["logits", "label", "class_name"], errors="ignore")


def with_logits(record, logits, labels=None, names=None):
    """Return a record whose model gave these scores, [sample, class]."""
    record = without_answers(record)
    told = record.assign(logits=(("sample", "class"), np.array(logits, dtype=np.float32)))
    told = told if labels is None else told.assign_coords(label=("sample", np.array(labels)))
    return told if names is None else told.assign_coords(class_name=("class", np.array(names, dtype=object)))


def mean_over_samples(values):
    return np.array(
        [[np.mean(values[:, i, j]) for j in range(values.shape[2])] for i in range(values.shape[1])]
    )


# --- numbers ---


def test_distances_are_means_over_samples_of_those_of_dense_attention():
    a, b = kept_record(), kept_record(seed=4)
    found = head_changes(a.record, b.record)
    for name, column in (("attends_to_distance", False), ("attended_by_distance", True)):
        each = reference_comparison.distance_of_each_head(
            a.dense, b.dense, a.mask, kind="jensen_shannon", column=column
        )
        assert found[name].dims == ("layer", "head")
        np.testing.assert_allclose(found[name], mean_over_samples(each), atol=1e-10)


def test_attention_of_cls_to_itself_is_the_mean_of_dense_attention():
    a, b = word_record(), word_record(seed=4)
    found = head_changes(a.record, b.record)
    for name, one in (("self_attention_before", a), ("self_attention_after", b)):
        np.testing.assert_allclose(found[name], mean_over_samples(one.dense[..., 0, 0]), rtol=1e-6)  # float32


def test_heads_are_matched_as_the_best_of_all_permutations_does():
    a, b = kept_record(), kept_record(seed=4)
    found = head_changes(a.record, b.record)
    heads = a.record.sizes["head"]
    for layer in range(a.record.sizes["layer"]):
        cost = np.zeros((heads, heads))
        for shift in range(heads):
            turned = np.roll(b.dense, -shift, axis=2)
            each = reference_comparison.distance_of_each_head(
                a.dense, turned, a.mask, kind="jensen_shannon", column=False
            )
            for h in range(heads):
                cost[h, (h + shift) % heads] = np.mean(each[:, layer, h])
        best = min(
            itertools.permutations(range(heads)),
            key=lambda order: sum(cost[h, order[h]] for h in range(heads)),
        )
        assert found["match"][layer].values.tolist() == list(best)
        np.testing.assert_allclose(
            found["match_distance"][layer], [cost[h, best[h]] for h in range(heads)], atol=1e-10
        )


def test_distance_between_heads_is_the_mean_over_all_pairs():
    a = kept_record()
    found = head_changes(a.record, a.record)["between_heads"]
    heads = a.record.sizes["head"]
    turned = [
        reference_comparison.distance_of_each_head(
            a.dense, np.roll(a.dense, -shift, axis=2), a.mask, kind="jensen_shannon", column=False
        )
        for shift in range(1, heads)
    ]
    np.testing.assert_allclose(found, np.mean(turned, axis=(0, 1, 3)), atol=1e-10)


def test_record_and_itself_are_no_distance_apart():
    record = word_record().record
    changes = compare(record, record)
    assert float(changes.heads["attends_to_distance"].max()) == 0
    assert not bool(changes.moved.any())
    assert changes.sentences[0] == "Nothing changed in any layer and head."


def test_heads_that_changed_places_are_found():
    before = patch_record().record
    after = before.isel(head=[1, 0, 2, 3]).assign_coords(head=[0, 1, 2, 3])
    changes = compare(before, after)
    assert changes.heads["match"].values.tolist() == [[1, 0, 2, 3]] * 3
    np.testing.assert_array_equal(changes.heads["match_distance"], 0)
    assert changes.moved.values.tolist() == [[True, True, False, False]] * 3
    assert "6 of 12 heads of A are more like another head of B than like their own." in changes.sentences


def test_head_that_alone_changed_is_named():
    before = without_answers(patch_record().record)
    row = np.zeros(7)
    row[2] = 1
    changed = before["attends_to"].copy()
    changed[:, 1, 3] = row
    changes = compare(before, before.assign(attends_to=changed))
    apart = changes.heads["attends_to_distance"]
    assert float(apart[1, 3]) == float(apart.max()) > 0.5
    name = before["layer_name"].values[1]
    most, itself, answers = changes.sentences
    between = float(changes.heads["between_heads"][1])
    assert most == (
        f"What [CLS] attends to changed most in {name}: {float(apart[1].mean()):.3f} on average, where two "
        f"heads of that layer of A are {between:.3f} apart; the head that changed most is head 3 of {name} "
        f"({float(apart[1, 3]):.3f})."
    )
    before_it = float(before["attends_to"][:, 1, 3, 0].mean())
    assert itself == (
        f"Attention of [CLS] to itself changed most in head 3 of {name}: from {before_it:.3f} to 0.000."
    )
    assert answers == "Answers cannot be compared: the first gives no scores of classes."


def test_layer_that_attends_to_nothing_is_undefined_and_not_zero():
    before = patch_record().record
    nothing = before["attends_to"].copy()
    nothing[:, 1] = 0
    changes = compare(before.assign(attends_to=nothing), before)
    heads = changes.heads
    assert heads["attends_to_distance"].isnull().all("head").values.tolist() == [False, True, False]
    assert heads["match"][1].values.tolist() == [-1] * 4
    assert changes.to_dict()["layers"][1]["heads"][0]["attends_to_distance"] is None
    assert not bool(changes.moved[1].any())


def test_record_without_the_column_is_compared_by_its_row():
    before, after = (word_record(seed=seed).record for seed in (1, 2))
    before = before.drop_vars("attended_by").assign_attrs(absent={"attended_by": "only CLS asks"})
    changes = compare(before, after)
    assert "Note: Who attends to CLS is not compared: only CLS asks" in changes.lines()
    assert "attended_by_distance" not in changes.heads
    assert "tokens to CLS" not in str(changes)


# --- answers ---


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            ([[1, 0], [0, 1]], [0, 1]),
            ([[0, 1], [0, 1]], [0, 1]),
            "The answer changed in 1 of 2 samples; 2 were right before, 1 after.",
        ),
        (([[1, 0], [0, 1]],), ([[3, 0], [0, 1]],), "The answer changed in 0 of 2 samples."),
        (
            ([[1, 0], [0, 1]],),
            ([[1, 0, 2], [0, 1, 2]],),
            "Answers cannot be compared: the first has 2 classes, the second 3.",
        ),
        (
            ([[1], [0]],),
            ([[1], [0]],),
            "Answers cannot be compared: there is one score, and no classes to choose from.",
        ),
        (
            ([[1, 0], [0, 1]], None, ["bad", "good"]),
            ([[1, 0], [0, 1]], None, ["yes", "no"]),
            "Answers cannot be compared: their classes have different names.",
        ),
    ],
)
def test_answers_are_compared_where_they_can_be(before, after, told):
    record = patch_record().record
    changes = compare(with_logits(record, *before), with_logits(record, *after))
    assert changes.answers.sentence == told
    assert changes.sentences[-1] == told


def test_model_that_got_a_classifier_by_fine_tuning_is_compared_with_the_one_without():
    record = without_answers(patch_record().record)
    changes = compare(record, with_logits(record, [[1, 0], [0, 1]], names=["bad", "good"]))
    assert changes.answers.reason == "the first gives no scores of classes"


# --- models ---


@pytest.fixture(scope="module")
def learned():
    return clsight.load("sample_models/digits-learned")


def test_models_are_compared_as_their_records_are(learned):
    other = clsight.load("sample_models/digits-zeros")
    by_model = compare(learned, other, learned.examples[:6])
    records = [clsight.capture(subject, learned.examples[:6]) for subject in (learned, other)]
    by_record = compare(*records)
    np.testing.assert_allclose(
        by_model.heads["attends_to_distance"], by_record.heads["attends_to_distance"], atol=1e-6
    )
    assert by_model.answers == by_record.answers
    assert compare(learned, other).answers.samples == len(learned.examples)


def test_change_of_one_layer_shows_from_that_layer_on(learned):
    after = clsight.load("sample_models/digits-learned")
    with torch.no_grad():
        after.module.encoder.layers[1].self_attn.in_proj_weight.add_(0.3)
    changes = compare(learned, after)
    means = changes.heads["attends_to_distance"].mean("head").values
    assert means[0] == 0
    assert (means[1:] > 0.01).all()


def test_model_with_a_random_cls_does_not_differ_from_itself_by_its_draws():
    first, second = (clsight.load("sample_models/digits-random-per-forward") for _ in range(2))
    clsight.capture(first, first.examples)  # the draws of the first go on
    assert compare(first, second).sentences[0] == "Nothing changed in any layer and head."


# --- lines and JSON ---


def test_report_shows_every_number():
    before, after = patch_record(name="base").record, patch_record(seed=3, name="tuned").record
    changes = compare(before, after)
    lines = list(changes.lines())
    assert lines[0] == "A base, B tuned: 2 samples, 3 layers, 4 heads"
    for layer, name in enumerate(before["layer_name"].values):
        rows = [line for line in lines if line.startswith(f"{name} ")]
        assert len(rows) == 2
        mean = float(changes.heads["attends_to_distance"][layer].mean())
        assert f"{mean:.3f}" in rows[0]
        cells = rows[1].split()[1:]
        for head, cell in enumerate(cells):
            value, *other = cell.split("→")
            assert value == f"{float(changes.heads['attends_to_distance'][layer, head]):.3f}"
            moved = bool(changes.moved[layer, head])
            assert other == ([str(int(changes.heads["match"][layer, head]))] if moved else [])
    assert "Note: Made by hand." in lines


def test_json_holds_layers_and_heads_with_labels():
    before, after = patch_record(name="base").record, patch_record(seed=3, name="tuned").record
    changes = compare(before, after)
    told = json.loads(changes.to_json())
    assert [layer["layer"] for layer in told["layers"]] == [0, 1, 2]
    head = told["layers"][2]["heads"][1]
    assert head["head"] == 1
    assert head["attends_to_distance"] == float(changes.heads["attends_to_distance"][2, 1])
    assert told["before"]["model"] == "base"
    assert told["answers"] == {
        "samples": 2,
        "changed": changes.answers.changed,
        "right_before": changes.answers.right_before,
        "right_after": changes.answers.right_after,
        "reason": "",
    }
    assert told["sentences"] == list(changes.sentences)


def test_name_that_would_color_the_terminal_is_spelled_out():
    before = patch_record(name="\x1b[31mred").record
    text = str(compare(before, before))
    assert "\x1b" not in text
    assert "x1b[31mred" in text


def test_records_are_compared_without_torch(tmp_path):
    paths = [tmp_path / f"{seed}.zarr.zip" for seed in (1, 2)]
    for seed, path in enumerate(paths, start=1):
        clsight.save_record(word_record(seed=seed).record, path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LOADED, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert not {"torch", "plotly", "dash"} & set(json.loads(done.stdout))


# --- refusals ---


def refusal(*arguments):
    with pytest.raises(RecordError) as raised:
        compare(*arguments)
    return str(raised.value)


def test_other_numbers_of_layers_or_heads_are_refused():
    record = word_record().record
    assert refusal(record, word_record(layers=2).record) == (
        "`compare`: expected as many layers in both, but got 3 and 2. "
        "Compare two checkpoints of one architecture."
    )
    assert refusal(record, record.isel(head=[0, 1])).startswith(
        "`compare`: expected as many heads in both, but got 4 and 2."
    )


def test_other_inputs_are_refused():
    before, after = word_record().record, word_record(words=("[CLS]", *"abcdefgh")).record
    assert refusal(before, after).startswith("`compare`: expected records of the same inputs, with equal ")


def test_stack_is_refused_and_its_members_are_compared():
    one, other = word_record().record, word_record(seed=2).record
    stacked = xr.concat([one["attends_to"], other["attends_to"]], "step")
    training = one.assign(attends_to=stacked).assign_coords(step=[0, 100])
    assert refusal(training, training) == (
        "`compare`: expected two plain records, but got a stack along `step`. "
        "Select one first: record.sel(step=...)."
    )
    changes = compare(training.sel(step=0), training.sel(step=100))
    assert float(changes.heads["attends_to_distance"].min()) > 0


def test_record_beside_a_model_is_refused(learned):
    assert refusal(word_record().record, learned) == (
        "`compare`: expected two records or two models, but got one of each. "
        "Capture the model on the same inputs: clsight.capture(subject, subject.examples)."
    )


def test_inputs_beside_records_are_refused():
    record = word_record().record
    assert refusal(record, record, np.zeros((2, 8))) == (
        "`compare`: expected no inputs beside two records, but got some. "
        "Leave `inputs` out: a record holds its own."
    )


def test_models_without_examples_are_refused_without_inputs(learned):
    bare = clsight.subject_of(learned.module)
    bare.examples = None
    assert refusal(bare, bare) == (
        "`compare`: expected inputs, as neither model has examples of its own, but got none. "
        "Give both the same: inputs=, or --input in the terminal."
    )
