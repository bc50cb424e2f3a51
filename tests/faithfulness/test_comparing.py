"""`compare` against its metrics one by one, and on a model of which the evidence is known by construction."""

import numpy as np
import pytest
import torch
import xarray as xr

import clsight
from clsight import faithfulness
from clsight.faithfulness import METRICS, compare, leave_one_out, removal_curves, score_batches
from clsight.faithfulness.attributed import random_scores
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import TOKENS, class_attention, torch_classifier
from module_state import state

OF_CURVES = [name for name, metric in METRICS.items() if metric.needs == ("curves",)]
DIMS = ("sample", "token")


def array(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims=DIMS)


def scores_for(samples=3, seed=0):
    return array(np.random.default_rng(seed).normal(size=(samples, TOKENS)))


def joined(batches):
    return xr.concat(list(batches), dim="sample", combine_attrs="override")


def test_scores_are_those_of_the_metrics_one_by_one():
    model = torch_classifier(padded=True)
    own, evidence = scores_for(), scores_for(seed=5) > 0
    kinds = np.where(model.case.padding, "pad", "step").astype(object)
    kinds[:, 0] = "cls"
    asked = {"by": "mask", "progress": False, "token_kind": kinds}
    whole = joined(
        score_batches(
            model.module,
            model.inputs,
            {"own": own, "raw": "attention"},
            evidence=evidence,
            random_rankings=2,
            **asked,
        )
    )
    assert whole.measure.values.tolist() == ["own", "raw", "random", "evidence"]
    assert set(whole.metric.values.tolist()) == METRICS.keys() - {"randomization_cascade"}
    record = clsight.capture(model.module, model.inputs)
    raw = record.attends_to.isel(layer=-1).mean("head").astype(float)
    effects = leave_one_out(model.module, model.inputs, **asked)
    removable = kinds == "step"

    def scores(attribution):
        curves = removal_curves(model.module, model.inputs, attribution, **asked)
        stated = {"token_kind": kinds}
        return {
            **{name: getattr(faithfulness, name)(curves) for name in OF_CURVES},
            "leave_one_out_tau": faithfulness.leave_one_out_tau(attribution, effects),
            "pointing_game": faithfulness.pointing_game(attribution, evidence, **stated),
            "auprc": faithfulness.auprc(attribution, evidence, **stated),
        }

    drawn = [scores(array(random_scores(removable, seed))) for seed in (0, 1)]
    expected = {
        "own": scores(own),
        "raw": scores(raw),
        "random": {name: (drawn[0][name] + drawn[1][name]) / 2 for name in drawn[0]},
        "evidence": scores(evidence.astype(float)),
    }
    for measure, by_metric in expected.items():
        for metric, values in by_metric.items():
            found = whole.score.sel(measure=measure, metric=metric)
            np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12)
    assert float(whole.score.std()) > 0.01


def test_scores_do_not_depend_on_the_batches():
    model = torch_classifier(padded=True)
    asked = {"evidence": scores_for(seed=5) > 0, "by": "mask", "progress": False, "target": [3, 1, 2]}
    measures = {"own": scores_for(), "raw": "attention", "grad": "gradient_times_attention"}
    whole, parts = (
        list(score_batches(model.module, model.inputs, measures, batch_size=size, **asked)) for size in (3, 2)
    )
    assert [batch.sizes["sample"] for batch in parts] == [2, 1]
    xr.testing.assert_allclose(whole[0], joined(parts), rtol=1e-6)
    assert whole[0].target.values.tolist() == [3, 1, 2]


def test_the_right_ranking_wins_and_a_random_one_gets_the_chance_value():
    generator = np.random.default_rng(0)
    words = [generator.permutation([EVIDENCE, PLAIN, 5, 6, 7]).tolist() for _ in range(60)]
    inputs = sentence(*words)
    right = array(inputs["input_ids"] == EVIDENCE)
    table = compare(
        Evidence(),
        inputs,
        {"right": right, "wrong": -right},
        metrics=[*OF_CURVES, "pointing_game", "auprc"],
        evidence=right > 0,
        by="mask",
        steps=5,
        target=1,
        token_kind=kinds_of(inputs),
        progress=False,
    )
    known = {  # right, wrong, chance
        "comprehensiveness": (1, 0, 0.2),
        "sufficiency": (0, 1, 0.8),
        "aopc_comprehensiveness": (1, 0.2, 0.6),
        "aopc_sufficiency": (0, 0.8, 0.4),
        "deletion_area": (0.1, 0.9, 0.5),
        "insertion_area": (0.9, 0.1, 0.5),
        "pointing_game": (1, 0, 0.2),
        "auprc": (1, 0.2, (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5),
    }
    for metric, (best, worst, chance) in known.items():
        row = table.sel(metric=metric)
        assert float(row.estimate.sel(measure="right")) == pytest.approx(best, abs=1e-7)
        assert float(row.estimate.sel(measure="evidence")) == pytest.approx(best, abs=1e-7)
        assert float(row.estimate.sel(measure="random")) == pytest.approx(chance, abs=4 * 0.4 / np.sqrt(600))
        assert float(row.estimate.sel(measure="wrong")) == pytest.approx(worst, abs=1e-7)
        low, high = (float(row[f"above_random_{end}"].sel(measure="right")) for end in ("low", "high"))
        assert low > 0 if METRICS[metric].better == "higher" else high < 0
        told = row.sentence.item()
        assert told.index("right scores") < told.index("a random ranking") < told.index("wrong scores")


def test_a_table_has_intervals_over_samples():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    asked = {"metrics": ["aopc_sufficiency"], "batch_size": 7, "progress": False}
    table = compare(subject, subject.examples, ["attention", "rollout"], confidence=0.9, **asked)
    scores = joined(score_batches(subject, subject.examples, ["attention", "rollout"], **asked)).score
    for name in ("attention", "rollout"):
        own, random = (scores.sel(measure=one, metric="aopc_sufficiency") for one in (name, "random"))
        expected = clsight.statistics.bootstrap(own, "sample", confidence=0.9)
        above = clsight.statistics.bootstrap(own - random, "sample", confidence=0.9)
        row = table.sel(measure=name, metric="aopc_sufficiency")
        for end, of in (("estimate", ""), ("low", "_low"), ("high", "_high")):
            assert float(row[end]) == pytest.approx(float(expected[end]), rel=1e-12)
            assert float(row[f"above_random{of}"]) == pytest.approx(float(above[end]), rel=1e-12)
    assert (table.attrs["samples"], table.attrs["confidence"], table.attrs["removal"]) == (20, 0.9, "mask")
    assert int(table.n.min()) == 20


def test_texts_of_each_batch_are_as_long_as_its_longest():
    words = [[EVIDENCE, PLAIN], [PLAIN, EVIDENCE], [PLAIN, 5, 6, EVIDENCE]]
    whole = sentence(*words)
    right = array(whole["input_ids"] == EVIDENCE)

    class Reads:
        """A subject that pads the samples of each batch on their own."""

        name, strategy, seed, provenance, classes, notes = "reads", "", None, {}, (), ()
        module, within, cls_index, classifies = Evidence(), None, 0, True

        def read(self, samples):
            return samples

        def prepare(self, samples):
            inputs = sentence(*samples)
            kinds = np.array(kinds_of(inputs), dtype=np.dtypes.StringDType())
            mask = inputs["attention_mask"].bool()
            return clsight.Prepared(inputs, mask, kinds, kinds, None, None, None)

    asked = {"evidence": right > 0, "target": 1, "metrics": ["deletion_area", "auprc"], "progress": False}
    batches = list(score_batches(Reads(), words, {"right": right}, batch_size=2, **asked))
    np.testing.assert_allclose(joined(batches).score.sel(measure="right", metric="auprc"), 1.0)
    together = next(score_batches(Reads(), words, {"right": right}, batch_size=3, **asked))
    xr.testing.assert_allclose(joined(batches), together)


def test_an_array_that_says_more_than_there_are_tokens_is_refused():
    inputs = sentence([EVIDENCE, PLAIN])
    with pytest.raises(clsight.RecordError) as refusal:
        compare(
            Evidence(), inputs, {"own": array([[0, 1, 2, 3]])}, token_kind=kinds_of(inputs), progress=False
        )
    assert str(refusal.value) == (
        "`compare`: expected `own` of sample=1, token=3, the sequence that the encoder sees, but got "
        "sample=1, "
        "token=4. Compute it for these inputs, [CLS] and padding included."
    )


def test_what_a_model_has_not_is_nan_with_the_reason_in_the_table_and_in_words():
    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = class_attention()

        def forward(self, x):
            return self.inner(x)

    inputs = torch.randn(4, TOKENS, 12, dtype=torch.float64)
    table = compare(
        Masked(),
        inputs,
        ["value_zeroing", "attention"],
        metrics="deletion_area",
        by="deletion",
        progress=False,
    )
    cell = table.sel(measure="value_zeroing", metric="deletion_area")
    assert np.isnan(cell.estimate)
    assert cell.n == 0
    assert cell.reason.item().startswith("4 of 4 samples: `Masked`: expected ")
    assert "value zeroing none (4 of 4 samples: `Masked`" in table.sentence.item()
    assert np.isfinite(table.estimate.sel(measure=["attention", "random"])).all()


def test_reasons_are_counted():
    inputs = sentence([EVIDENCE, PLAIN, 5], [EVIDENCE], [PLAIN, 6])
    scores = array([[0, 2, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0]])
    table = compare(
        Evidence(),
        inputs,
        {"own": scores},
        metrics="sufficiency",
        token_kind=kinds_of(inputs),
        progress=False,
    )
    cell = table.sel(measure="own", metric="sufficiency")
    assert int(cell.n) == 1
    assert cell.reason.item() == (
        "1 of 3 samples: 1 token may be removed: nothing to rank; "
        "1 of 3 samples: the attribution is the same at all 2 tokens: it ranks nothing"
    )


def test_the_way_of_the_first_batch_is_that_of_all():
    class SometimesMasked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch_classifier().module

        def forward(self, src, attention_mask=None):
            return self.inner(src)

    ones = torch.ones(3, TOKENS, TOKENS)
    inputs = {"src": torch_classifier().inputs["src"], "attention_mask": ones}
    batches = score_batches(SometimesMasked(), inputs, {"own": scores_for()}, batch_size=2, progress=False)
    assert [batch.attrs["removal"] for batch in batches] == ["deletion", "deletion"]


def test_the_model_is_left_as_it_was_when_work_is_cut_short():
    model = torch_classifier(padded=True)
    model.module.train()
    before = state(model.module)
    batches = score_batches(model.module, model.inputs, batch_size=1, progress=False)
    next(batches)
    assert state(model.module) == before
    batches.close()
    assert state(model.module) == before


def test_raw_samples_of_a_subject_are_read():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    asked = {"measures": ["attention"], "metrics": "deletion_area", "progress": False}
    read = joined(score_batches(subject, subject.examples[0:3], **asked))
    raw = joined(score_batches(subject, subject.examples[0:3].inputs, **asked))
    xr.testing.assert_identical(read.score, raw.score)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"metrics": "deletion"},
            "`metrics`: expected names of metrics that need no evidence=, but got 'deletion'. Did",
        ),
        (
            {"metrics": ["auprc"]},
            "`metrics`: expected names of metrics that need no evidence=, but got 'auprc'.",
        ),
        ({"metrics": []}, "`metrics`: expected names of metrics that need no evidence=, but got none."),
        (
            {"batch_size": 0},
            "`batch_size`: expected a whole number, 1 or more, but got 0. Leave it out for the usual one.",
        ),
        (
            {"random_rankings": 1.5},
            "`random_rankings`: expected a whole number, 1 or more, but got 1.5. Leave it out for the usual "
            "one.",
        ),
        (
            {"steps": 0},
            "`steps`: expected a whole number, 1 or more, but got 0. Pass steps=10 for 10 % to 100 %.",
        ),
    ],
)
def test_what_is_asked_wrongly_is_refused(asked, message):
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as refusal:
        compare(model.module, model.inputs, progress=False, **asked)
    assert str(refusal.value).startswith(message)


def test_evidence_of_other_samples_is_refused():
    model = torch_classifier()
    with pytest.raises(clsight.RecordError) as refusal:
        compare(model.module, model.inputs, evidence=scores_for(2) > 0, progress=False)
    assert str(refusal.value) == (
        "`compare`: expected `evidence` of sample=3, as there are samples, but got sample=2. Compute it for "
        "all "
        "samples that are compared, in their order."
    )


def test_what_is_no_model_and_what_has_no_samples_is_refused():
    with pytest.raises(clsight.CaptureError, match=r"expected a torch module, or what clsight.load returned"):
        compare("digits", torch.zeros(2, 3))
    with pytest.raises(clsight.CaptureError) as refusal:
        compare(torch_classifier().module, torch.zeros(3))
    assert str(refusal.value) == (
        "`inputs`: expected a tensor [sample, ...] among the inputs, but got none. Pass one batch as the "
        "module "
        "takes it, samples first."
    )


def test_a_list_of_positional_arguments_is_cut_by_samples():
    model = torch_classifier(padded=True)
    arguments = [model.inputs["src"], model.inputs["src_key_padding_mask"]]
    asked = {"measures": {"own": scores_for()}, "metrics": "deletion_area", "by": "mask", "progress": False}
    one = joined(score_batches(model.module, arguments, batch_size=2, **asked))
    other = joined(score_batches(model.module, model.inputs, batch_size=2, **asked))
    xr.testing.assert_identical(one.score, other.score)


def test_kept_curves_are_those_of_each_measure_and_the_mean_of_the_random_rankings():
    model = torch_classifier(padded=True)
    own = scores_for()
    kinds = np.where(model.case.padding, "pad", "step").astype(object)
    kinds[:, 0] = "cls"
    asked = {"by": "mask", "progress": False, "token_kind": kinds, "steps": 5}
    settings = {"random_rankings": 3, "batch_size": 2, "keep_curves": True, **asked}
    whole = joined(score_batches(model.module, model.inputs, {"own": own, "raw": "attention"}, **settings))
    plain = joined(
        score_batches(
            model.module, model.inputs, {"own": own, "raw": "attention"}, random_rankings=3, **asked
        )
    )
    xr.testing.assert_allclose(whole.score, plain.score, rtol=1e-5, atol=1e-7)
    assert not {"deletion", "insertion", "removed"} & set(plain.data_vars)
    expected = removal_curves(model.module, model.inputs, own, **asked)
    drawn = [
        removal_curves(model.module, model.inputs, array(random_scores(kinds == "step", seed)), **asked)
        for seed in range(3)
    ]
    for name in ("deletion", "insertion", "removed"):
        assert whole[name].dims == ("measure", "sample", "fraction")
        found = whole[name].transpose("measure", "sample", "fraction").sel(measure=["own", "random"]).values
        mean = np.mean([curves[name].values for curves in drawn], axis=0)
        # float32 passes of two and of three samples: their sums differ in the last bits
        np.testing.assert_allclose(found, [expected[name].values, mean], rtol=1e-5, atol=1e-7)


def test_curves_are_kept_without_a_metric_that_needs_them_and_nan_where_a_measure_is_missing():
    inputs = torch.randn(4, TOKENS, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    [scores] = score_batches(
        class_attention(),
        inputs,
        ["attention", "value_zeroing"],
        metrics=["leave_one_out_tau"],
        keep_curves=True,
        by="deletion",
        progress=False,
    )
    assert scores["deletion"].sel(measure="value_zeroing").isnull().all()
    assert scores["reason"].sel(measure="value_zeroing").values.all()
    assert scores["deletion"].sel(measure=["attention", "random"]).notnull().all()
