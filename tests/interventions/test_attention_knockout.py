"""`clsight.interventions.knockout` against a hand-written encoder in which pairs are cut one by one."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_interventions as by_hand
from attention_ways import WAYS, WIDTH, Attention
from clsight.interventions import knockout
from hand_run_models import HEADS, MODELS, SAMPLES, TOKENS, bert, class_attention, torch_classifier
from module_state import state

PATHS = ("column", "row", "self")
FLAVORS = ("mask", "zero", "mean", "resample")
EFFECTS = ("logit_change", "kl", "prediction_changed", "cls_distance")


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("path", PATHS)
def test_effects_are_those_of_a_hand_written_encoder(model, path):
    result = knockout(model.module, model.inputs, path=path, cls_index=model.case.cls, progress=False)
    layers, heads = result.sizes["layer"], result.sizes["head"]
    assert (layers, heads) == (len(model.case.blocks), model.case.blocks[0].heads)
    for flavor in FLAVORS:
        for layer in range(layers):
            for head in range(heads):
                expected = by_hand.knockout(model.case, path, flavor, [(layer, head)])
                cell = result.sel(flavor=flavor, layer=layer, head=head)
                for name in EFFECTS:
                    np.testing.assert_allclose(cell[name], expected[name], rtol=1e-9, atol=1e-12)
    assert float(abs(result.logit_change).max()) > 1e-3, "the cuts do something"


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("path", PATHS)
def test_all_heads_of_all_layers_are_cut_at_once(path, flavor):
    model = torch_classifier(padded=True)
    cells = [(layer, head) for layer in range(2) for head in range(HEADS)]
    expected = by_hand.knockout(model.case, path, flavor, cells)
    result = knockout(model.module, model.inputs, path=path, flavors=flavor, per=None, progress=False)
    assert result.kl.dims == ("flavor", "sample")
    for name in EFFECTS:
        np.testing.assert_allclose(result[name][0], expected[name], rtol=1e-9, atol=1e-12)


def test_some_heads_of_one_layer_are_cut_together():
    model = torch_classifier(norm_first=True)
    result = knockout(
        model.module, model.inputs, flavors=("zero", "mask"), layers="encoder.layers.1", heads=[-1, 1],
        per="layer", path="row", progress=False,
    )  # fmt: skip
    assert result.kl.dims == ("flavor", "sample", "layer")
    assert result.flavor.values.tolist() == ["zero", "mask"]
    assert result.layer_name.values.tolist() == ["encoder.layers.1"]
    for flavor in ("zero", "mask"):
        expected = by_hand.knockout(model.case, "row", flavor, [(1, 1), (1, 3)])
        np.testing.assert_allclose(result.kl.sel(flavor=flavor, layer=1), expected["kl"], rtol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "F"])
def test_effects_are_the_same_however_attention_is_called(way, path):
    results = []
    for attend in (WAYS[way], WAYS["F"]):
        torch.manual_seed(0)
        module = nn.Sequential(Attention(attend), Attention(attend)).double()
        inputs = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
        results.append(knockout(module, inputs, path=path, cls_index=1, progress=False))
    np.testing.assert_allclose(results[0].cls_distance, results[1].cls_distance, rtol=1e-8, atol=1e-14)
    assert float(results[1].cls_distance.max()) > 1e-3


@pytest.mark.parametrize("path", PATHS)
def test_effects_are_the_same_with_and_without_weights(path):
    class Asks(nn.Module):
        def __init__(self, need_weights):
            super().__init__()
            self.attention, self.need_weights = nn.MultiheadAttention(WIDTH, 3), need_weights

        def forward(self, x):  # [token, sample, channel]
            return x + self.attention(x, x, x, need_weights=self.need_weights)[0]

    results = []
    for need_weights in (True, False):
        torch.manual_seed(0)
        module = nn.Sequential(Asks(need_weights), Asks(need_weights)).double()
        inputs = torch.randn(TOKENS, SAMPLES, WIDTH, dtype=torch.float64)
        results.append(knockout(module, inputs, path=path, progress=False))
    np.testing.assert_allclose(results[0].cls_distance, results[1].cls_distance, rtol=1e-8, atol=1e-14)
    assert float(results[1].cls_distance.max()) > 1e-4


def test_tokens_may_come_before_samples():
    model = torch_classifier(padded=True)
    expected = knockout(model.module.encoder, model.inputs, progress=False)
    for layer in model.module.encoder.layers:
        layer.self_attn.batch_first = False
    inputs = {**model.inputs, "src": model.inputs["src"].transpose(0, 1)}
    result = knockout(model.module.encoder, inputs, progress=False)
    np.testing.assert_allclose(result.cls_distance, expected.cls_distance, rtol=1e-9, atol=1e-15)
    assert float(result.cls_distance.max()) > 1e-6


def test_the_last_column_says_nothing_of_what_is_read_at_cls():
    model = torch_classifier()
    result = knockout(model.module, model.inputs, layers=-1, progress=False)
    assert float(abs(result.logit_change).max()) == 0.0
    assert float(result.cls_distance.max()) == 0.0


def test_a_value_that_all_samples_share_has_no_other_mean():
    model = torch_classifier()
    model.inputs["src"][1:] = model.inputs["src"][0]
    result = knockout(model.module, model.inputs, path="self", layers=0, progress=False)
    assert float(result.kl.sel(flavor=["mean", "resample"]).max()) < 1e-15, "rounding"
    assert float(result.kl.sel(flavor="zero").max()) > 1e-8
    assert result.attrs["notes"] == [
        "CLS has the same value in all samples in `encoder.layers.0`: mean and resample change nothing there"
    ]


def test_logits_may_be_named():
    class Named(nn.Module):
        def __init__(self, classifier):
            super().__init__()
            self.classifier = classifier

        def forward(self, src):
            return {"a": self.classifier(src), "b": self.classifier(src) * 0 + 1}

    model = torch_classifier()
    asked = {"layers": 0, "heads": 0, "flavors": "mask", "progress": False}
    named = knockout(Named(model.module), model.inputs, output=lambda made: made["a"], **asked)
    plain = knockout(model.module, model.inputs, **asked)
    np.testing.assert_array_equal(named.logit_change, plain.logit_change)
    unnamed = knockout(Named(model.module), model.inputs, **asked)
    assert set(unnamed.data_vars) == {"cls_distance"}
    reason = "the output holds 2 tensors of shape [sample, class], where one is expected"
    assert unnamed.attrs["absent"]["kl"] == reason


def test_one_class_has_no_divergence_and_no_other_prediction():
    model = torch_classifier()
    model.module.head = nn.Linear(WIDTH, 1).double()
    result = knockout(model.module, model.inputs, layers=0, progress=False)
    assert set(result.data_vars) == {"logit_change", "cls_distance"}
    reason = "one class only: its probability is 1 whatever the logit"
    assert (result.attrs["absent"]["kl"], result.attrs["absent"]["prediction_changed"]) == (reason, reason)


def test_samples_that_hold_cls_alone_are_not_a_number():
    model = torch_classifier(padded=True)
    model.inputs["src_key_padding_mask"][1, 1:] = True
    result = knockout(model.module, model.inputs, layers=0, flavors=("mask", "zero"), progress=False)
    is_nan = np.isnan(result.logit_change).all(["flavor", "layer", "head"])
    assert is_nan.values.tolist() == [False, True, False]
    assert result.attrs["notes"][-1] == "Samples [1] hold no token but CLS, so nothing is cut in them: NaN"
    alone = knockout(model.module, model.inputs, layers=0, path="self", flavors="mask", progress=False)
    assert not np.isnan(alone.logit_change).any(), "CLS can still be kept from asking itself"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_cls_that_is_kept_from_its_only_key_reads_no_padding(attention):
    """BERT masks with finite numbers: without its only real key CLS would read all padding alike."""
    model = bert(attention=attention)
    model.inputs["attention_mask"][1, 1:] = 0
    model.case.padding[1, 1:] = True
    result = knockout(model.module, model.inputs, path="self", flavors="mask", layers=0, progress=False)
    for head in range(result.sizes["head"]):
        expected = by_hand.knockout(model.case, "self", "mask", [(0, head)])
        np.testing.assert_allclose(result.kl.sel(layer=0, head=head)[0], expected["kl"], rtol=1e-9)


def test_class_attention_has_a_row_and_no_column():
    module = class_attention()
    inputs = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    for path in ("row", "self"):
        result = knockout(module, inputs, path=path, flavors=("mask", "zero"), progress=False)
        assert float(result.logit_change.min()) < -1e-4
    with pytest.raises(clsight.CaptureError) as caught:
        knockout(module, inputs, progress=False)
    assert str(caught.value) == (
        "`ClassAttention`: expected a layer in which other tokens ask CLS, but got class attention, in which "
        "CLS alone asks. Cut path='row' or path='self'."
    )


def test_result_is_labeled():
    model = torch_classifier()
    result = knockout(model.module, model.inputs, progress=False)
    assert dict(result.sizes) == {"flavor": 4, "sample": SAMPLES, "layer": 2, "head": HEADS}
    assert result.flavor.values.tolist() == list(FLAVORS)
    assert result.attrs["intervention"] == "knockout"
    assert (result.attrs["path"], result.attrs["draws"]) == ("column", 1)
    assert result.kl.attrs == {"long_name": "KL divergence of the class probabilities", "units": "nats"}
    why = "the model draws nothing in eval mode, so one pass says all"
    assert result.attrs["absent"] == {f"{name}_std": why for name in EFFECTS}


def test_a_subject_is_cut_like_its_module():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    examples = subject.examples[:3]
    asked = {"layers": 1, "heads": [0, 2], "progress": False}
    result = knockout(subject, examples, **asked)
    bare = knockout(subject.module, subject.prepare(examples).inputs, **asked)
    for name in EFFECTS:
        np.testing.assert_array_equal(result[name], bare[name])
    np.testing.assert_array_equal(result.label, examples.labels)
    assert result.attrs["checkpoint_sha256"]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = torch_classifier(padded=True)
    model.module.train(training)
    before = state(model.module)
    knockout(model.module, model.inputs, layers=0, progress=False)
    assert state(model.module) == before


@pytest.mark.parametrize("fails_at", [1, 2, 5])
def test_the_model_is_left_as_it_was_after_an_exception(fails_at):
    model = torch_classifier().module.train()
    calls = []

    def fail(*_):
        calls.append(None)
        if len(calls) == fails_at:
            raise ValueError("the head fell off")

    model.head.register_forward_pre_hook(fail)
    before = state(model)
    with pytest.raises(clsight.CaptureError, match="the head fell off"):
        knockout(model, torch_classifier().inputs, layers=0, progress=False)
    assert state(model) == before


def test_a_plain_forward_is_as_before():
    model = torch_classifier()
    with torch.no_grad():
        before = model.module(**model.inputs)
        knockout(model.module, model.inputs, progress=False)
        assert torch.equal(model.module(**model.inputs), before)


MESSAGES = {
    "layer": (
        {"layers": "encoder.layers.3"},
        "`layers`: expected indices, 0 to 1, or names of layers, but got 'encoder.layers.3'. "
        "Did you mean `encoder.layers.1`? Options: encoder.layers.0, encoder.layers.1.",
    ),
    "layer index": (
        {"layers": [0, 2]},
        "`layers`: expected indices, 0 to 1, or names of layers, but got 2. "
        "Options: encoder.layers.0, encoder.layers.1.",
    ),
    "no layer": (
        {"layers": []},
        "`layers`: expected one layer or more, 0 to 1, but got none. Pass None for all.",
    ),
    "head": (
        {"heads": 4},
        "`heads`: expected indices of heads, 0 to 3, but got 4. "
        "The model has 4 heads in each layer: choose among them.",
    ),
    "no head": (
        {"heads": []},
        "`heads`: expected one head or more, 0 to 3, but got none. Pass None for all.",
    ),
    "flavor": (
        {"flavors": ["mask", "means"]},
        "`flavors`: expected one of mask, zero, mean, resample, but got 'means'. "
        "Did you mean `mean`? Options: mask, mean, resample, zero.",
    ),
    "path": (
        {"path": "columns"},
        "`path`: expected one of column, row, self, but got 'columns'. "
        "Did you mean `column`? Options: column, row, self.",
    ),
    "per": (
        {"per": "head"},
        """`per`: expected ("layer", "head"), "layer" or None, but got 'head'. """
        "Heads of one index in different layers have nothing in common: choose one with heads=.",
    ),
    "draws": (
        {"draws": 0},
        "`draws`: expected a whole number, 1 or more, but got 0. "
        "Pass draws=10, or more for a model whose answers vary much.",
    ),
    "seed": (
        {"seed": -1},
        "`seed`: expected a whole number, 0 or more, but got -1. "
        "Pass the number from which the random streams start, such as 0.",
    ),
}


@pytest.mark.parametrize("mistake", MESSAGES)
def test_a_mistake_is_one_sentence(mistake):
    asked, message = MESSAGES[mistake]
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as caught:
        knockout(model.module, model.inputs, progress=False, **asked)
    assert str(caught.value) == message


@pytest.mark.parametrize("flavor", ["mean", "resample"])
def test_one_sample_has_no_other_to_take_from(flavor):
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as caught:
        knockout(model.module, model.inputs["src"][:1], flavors=("mask", flavor), progress=False)
    assert str(caught.value) == (
        f"`inputs`: expected two samples or more for flavor '{flavor}', which takes values from another, but "
        "got one. Pass more samples, or flavors=('mask', 'zero')."
    )


def test_samples_of_cls_alone_have_no_column():
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as caught:
        knockout(model.module, model.inputs["src"][:, :1], progress=False)
    assert str(caught.value) == (
        "`inputs`: expected a token beside CLS for path='column', but got samples that hold CLS alone. "
        "Pass longer inputs, or cut path='self'."
    )


def test_an_answer_without_logits_and_without_states_says_nothing():
    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(WAYS["F"])

        def forward(self, x):
            return self.attention(x).mean()

    module = Averaged()
    module.attention.forward, forward = None, module.attention.forward
    module.attention.forward = lambda x: forward(x).flatten()
    with pytest.raises(clsight.CaptureError) as caught:
        knockout(module, torch.randn(SAMPLES, TOKENS, WIDTH), progress=False)
    assert str(caught.value) == (
        "`output`: expected logits, or a state of CLS that leaves the last layer, but got no logits (the "
        "output holds no tensors of shape [sample, class], where one is expected) and no such state. "
        "Pass output=, a function from the model's output to its logits."
    )


def test_a_model_that_takes_another_way_when_cut_is_refused():
    class Exits(nn.Module):
        """Runs its second layer only if the first gave what it gives when nothing is cut."""

        def __init__(self):
            super().__init__()
            self.first, self.second = Attention(WAYS["F"]), Attention(WAYS["F"])
            self.known = None

        def forward(self, x):
            x = self.first(x)
            self.known = x.detach().clone() if self.known is None else self.known
            return self.second(x) if torch.equal(self.known, x) else x

    with pytest.raises(clsight.CaptureError) as caught:
        knockout(Exits(), torch.randn(SAMPLES, TOKENS, WIDTH), progress=False)
    assert str(caught.value) == (
        "`Exits`: expected the same attention calls in every forward pass of the same inputs, but got 1 of "
        "2. Capture it alone: passes can be compared only if the model takes the same way in each."
    )


def test_dropout_that_stays_on_is_refused():
    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(
                lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.2)
            )

        def forward(self, x):
            return self.attention(x)

    with pytest.raises(clsight.CaptureError) as caught:
        knockout(Drops(), torch.randn(SAMPLES, TOKENS, WIDTH), progress=False)
    assert str(caught.value) == (
        "`attention`: expected attention without dropout in eval mode, but got weights that are dropped at "
        "random. Switch the dropout off: what it takes away cannot be told from an intervention."
    )
