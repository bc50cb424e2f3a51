"""Passes that are compared share one draw of a random CLS, wherever it is drawn, and draws are averaged."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_interventions as by_hand
from attention_ways import WAYS, Attention
from attention_ways import WIDTH as WIDE
from clsight.interventions import INTERVENTIONS, knockout, value_zeroing
from clsight.models import ClassificationTransformer, ModelConfig
from encoder_builders import pixels
from hand_run_models import SAMPLES, TOKENS, WIDTH, Case, torch_classifier
from module_state import state
from replaceable_models import native_vit

EFFECTS = ("logit_change", "kl", "prediction_changed", "cls_distance")


class DrawsCls(nn.Module):
    """A classifier of one's own that draws its CLS at each forward."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, src):
        return self.classifier(torch.cat([torch.randn(len(src), 1, WIDTH, dtype=src.dtype), src], dim=1))


def own_classifier():
    return DrawsCls(torch_classifier().module)


def series(time=TOKENS):
    return torch.randn(SAMPLES, time, WIDTH, generator=torch.Generator().manual_seed(3))


def classifier_of_clsight(strategy):
    config = ModelConfig(
        classes=3, width=WIDTH, heads=3, layers=2, embedding="none", strategy=strategy, seed=1
    )
    return ClassificationTransformer(config).eval()


def digits(strategy=None):
    """A sample model in which another CLS is drawn, and its own examples."""
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    block = clsight.cls_token.replaced(subject, strategy, seed=4) if strategy else nullcontext()
    return subject, subject.examples[:SAMPLES], block


def drawing_models():
    yield "torch.randn in a forward", own_classifier(), series().double(), nullcontext()
    yield "clsight's own", classifier_of_clsight("random_per_forward"), series(), nullcontext()
    subject, examples, block = digits("random_per_forward")
    yield "replaced in a classifier of clsight", subject, examples, block
    vision = native_vit()
    block = clsight.cls_token.replaced(vision, "random_per_forward", seed=4)
    yield "replaced where CLS is a parameter", vision.module, pixels(name="images"), block


@pytest.mark.parametrize("which", range(4))
def test_means_and_spread_are_those_of_single_draws(which):
    _, model, inputs, block = list(drawing_models())[which]
    asked = {"layers": 0, "heads": [0, 2], "progress": False}
    with block:
        singles = [knockout(model, inputs, draws=1, seed=5 + draw, **asked) for draw in range(3)]
        together = knockout(model, inputs, draws=3, seed=5, **asked)
    assert together.attrs["draws"] == 3
    for name in EFFECTS:
        drawn = np.stack([one[name] for one in singles])
        np.testing.assert_allclose(together[name], drawn.mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(together[f"{name}_std"], drawn.std(0, ddof=1), rtol=1e-9, atol=1e-15)
    assert float(together["kl_std"].max()) > 1e-9, "draws differ"
    assert together.attrs["notes"][:1] == ["Means over 3 draws; passes that are compared share a draw"]
    why = "one draw was asked for, and its spread is unknown"
    assert singles[0].attrs["absent"]["kl_std"] == why


@pytest.mark.parametrize("which", range(4))
def test_passes_that_are_compared_share_a_draw(which):
    """What others ask of CLS in the last layer cannot reach CLS: any effect would be another draw."""
    _, model, inputs, block = list(drawing_models())[which]
    with block:
        result = knockout(model, inputs, layers=-1, draws=4, progress=False)
    for name in EFFECTS:
        assert float(abs(result[name]).max()) == 0.0


def test_effects_of_a_drawn_cls_are_those_of_a_hand_written_encoder():
    model, src, seed, draws = own_classifier(), series().double(), 11, 3
    expected = []
    for draw in range(draws):
        torch.manual_seed(seed + draw)
        cls = torch.randn(SAMPLES, 1, WIDTH, dtype=torch.float64)
        case = torch_classifier().case
        entering = torch.cat([cls, src], dim=1).numpy()
        case = Case(case.blocks, entering, np.zeros(entering.shape[:2], dtype=bool), case.read)
        expected.append(by_hand.knockout(case, "row", "mask", [(1, 2)])["kl"])
    result = knockout(
        model, src, path="row", flavors="mask", layers=1, heads=2, draws=draws, seed=seed, progress=False
    )
    np.testing.assert_allclose(result.kl.squeeze(), np.mean(expected, axis=0), rtol=1e-9)
    np.testing.assert_allclose(result.kl_std.squeeze(), np.std(expected, axis=0, ddof=1), rtol=1e-9)


def test_value_zeroing_is_averaged_over_draws():
    model, src = own_classifier(), series().double()
    singles = [value_zeroing(model, src, draws=1, seed=2 + draw, progress=False) for draw in range(3)]
    together = value_zeroing(model, src, draws=3, seed=2, progress=False)
    for name in ("value_zeroing", "value_zeroing_share"):
        drawn = np.stack([one[name] for one in singles])
        np.testing.assert_allclose(together[name], drawn.mean(0), rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(together[f"{name}_std"], drawn.std(0, ddof=1), rtol=1e-7, atol=1e-15)
        assert float(together[f"{name}_std"].min()) > 0


@pytest.mark.parametrize("which", range(4))
def test_random_streams_go_on_where_they_were(which):
    outputs = []
    for is_cut in (False, True):
        torch.manual_seed(0)
        _, model, inputs, block = list(drawing_models())[which]
        with block:
            clsight.capture(model, inputs)
            before = state(model if isinstance(model, nn.Module) else model.module)
            if is_cut:
                knockout(model, inputs, layers=0, heads=0, draws=2, progress=False)
                assert state(model if isinstance(model, nn.Module) else model.module) == before
            outputs.append(clsight.capture(model, inputs).attends_to)
    np.testing.assert_array_equal(outputs[0], outputs[1])


OF_CLASS = ("chefer", "chefer_lrp", "direct_logit_attribution", "integrated_gradients")
OPENED = [name for name in INTERVENTIONS if name not in ("knockout", "value_zeroing")]


def asked_of(name):
    """Return options with which an intervention is quick."""
    return {"steps": 4} if name == "integrated_gradients" else {}


def measured(array):
    return array.dtype.kind == "f" and not array.name.endswith("_std")


@pytest.mark.parametrize("name", OPENED)
def test_result_of_a_drawn_cls_is_the_mean_over_vectors_drawn_by_hand(name):
    model, src, seed, asked = own_classifier(), series().double(), 1, asked_of(name)
    drawn = []
    for draw in range(3):
        torch.manual_seed(seed + draw)
        cls = torch.randn(SAMPLES, 1, WIDTH, dtype=torch.float64)
        drawn.append(torch.cat([cls, src], dim=1))
    if name in OF_CLASS:
        chances = [torch.softmax(model.classifier(states), 1).detach().numpy() for states in drawn]
        classes = np.mean(chances, axis=0).argmax(1)
        assert (classes != chances[0].argmax(1)).any(), "the first draw alone would say another class"
        asked = {**asked, "target": classes.tolist()}
    intervention = INTERVENTIONS[name].function
    expected = [intervention(model.classifier, states, **asked) for states in drawn]
    result = intervention(model, src, draws=3, seed=seed, **asked_of(name))
    assert result.attrs["draws"] == 3
    assert result.attrs["draw_seed"] == seed
    assert result.attrs["absent"] == {}
    assert result.attrs["notes"][0] == "Means over 3 draws; passes that are compared share a draw"
    spread = 0.0
    for array in filter(measured, result.data_vars.values()):
        values = np.stack([one[array.name] for one in expected])
        np.testing.assert_allclose(array, values.mean(0), rtol=1e-7, atol=1e-11, err_msg=array.name)
        std = result[f"{array.name}_std"]
        np.testing.assert_allclose(std, values.std(0, ddof=1), rtol=1e-5, atol=1e-11, err_msg=array.name)
        assert std.dims == array.dims
        assert std.attrs["long_name"] == f"{array.attrs['long_name']}, std over draws"
        spread = max(spread, float(std.max()))
    assert spread > 1e-3, "draws differ"


@pytest.mark.parametrize("name", OPENED)
def test_random_streams_of_the_caller_go_on_and_two_calls_give_the_same(name):
    model, src = own_classifier(), series().double()
    intervention, asked = INTERVENTIONS[name].function, {**asked_of(name), "draws": 2}
    torch.manual_seed(5)
    before = state(model)
    first = intervention(model, src, **asked)
    assert state(model) == before
    torch.manual_seed(6)
    second = intervention(model, src, **asked)
    for array in first.data_vars:
        np.testing.assert_array_equal(first[array], second[array])
    assert first.attrs == second.attrs


@pytest.mark.parametrize("name", OPENED)
def test_model_that_draws_nothing_is_measured_once_and_one_draw_has_no_spread(name):
    src, asked = series().double(), asked_of(name)
    intervention = INTERVENTIONS[name].function
    fixed = intervention(torch_classifier().module, src, **asked)
    assert (fixed.attrs["draws"], fixed.attrs["draw_seed"]) == (1, 0)
    assert not any("draw" in note for note in fixed.attrs["notes"])
    measures = [array.name for array in fixed.data_vars.values() if measured(array)]
    why = "the model draws nothing in eval mode, so one pass says all"
    assert fixed.attrs["absent"] == {f"{one}_std": why for one in measures}
    drawn = intervention(own_classifier(), src, draws=1, **asked)
    why = "one draw was asked for, and its spread is unknown"
    assert drawn.attrs["absent"] == {f"{one}_std": why for one in measures}


@pytest.mark.parametrize("name", OPENED)
def test_number_of_draws_that_is_none_is_refused(name):
    with pytest.raises(clsight.CaptureError) as refused:
        INTERVENTIONS[name].function(own_classifier(), series().double(), draws=0)
    assert str(refused.value) == (
        "`draws`: expected a whole number, 1 or more, but got 0. Pass draws=10, or more for a model whose "
        "answers vary much."
    )


def test_notes_and_attributes_in_which_draws_differ_say_so():
    """Too few steps leave gaps open, in each draw in other samples."""
    model, src, method = own_classifier(), series().double(), INTERVENTIONS["integrated_gradients"].function
    singles = [method(model, src, steps=32, target=0, draws=1, seed=seed) for seed in range(6)]
    found = method(model, src, steps=32, target=0, draws=6)
    told = [(seed, note) for seed, one in enumerate(singles) for note in one.attrs["notes"]]
    assert len({note for _, note in told}) > 1
    own = [f"In the draw from seed {seed}: {note}" for seed, note in told]
    assert found.attrs["notes"] == ["Means over 6 draws; passes that are compared share a draw", *own]
    steps = [method(model, src, target=0, draws=1, seed=seed).attrs["baselines"]["steps"] for seed in (0, 1)]
    assert steps[0] != steps[1]
    closed = method(model, src, target=0, draws=2)
    assert closed.attrs["baselines"] == {"cls": "zeros", "others": "zeros", "steps": steps}


def test_a_model_with_a_memory_is_refused():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.passes = Attention(WAYS["F"]), 0

        def forward(self, x):
            self.passes += 1
            return self.attention(x + 0.1 * self.passes)

    with pytest.raises(clsight.CaptureError) as caught:
        knockout(nn.Sequential(Remembers()), torch.randn(SAMPLES, TOKENS, WIDE), progress=False)
    assert str(caught.value) == (
        "`Sequential`: expected the same answer from two passes of the same inputs and the same draw, but "
        "got two different ones. It draws from a random stream that cannot be started anew, or keeps a state "
        "between passes. Draw from torch's own generator, or one that the module holds as an attribute."
    )
