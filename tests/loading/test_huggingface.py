"""Every family of transformers: the model that `from_pretrained` gives, captured with a good self-check."""

import pytest
import torch

import clsight
from huggingface_folders import PICTURE_FAMILIES, TEXT_FAMILIES, save_model, save_text_model

SELF_CHECK = 1e-5  # of weights near 1 in float32


def assert_same_model(subject, model_class, folder):
    """Compare with transformers' own loading, output by output, bit for bit."""
    import transformers

    theirs = getattr(transformers, model_class).from_pretrained(folder).eval()
    assert type(subject.module) is type(theirs)
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        ours, wanted = subject.module(**inputs).to_tuple(), theirs(**inputs).to_tuple()
    assert len(ours) == len(wanted)
    assert all(torch.equal(*pair) for pair in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_a_model_of_text_is_loaded_and_captured(tmp_path, family):
    model, config, options, tokenizer = TEXT_FAMILIES[family]
    save_text_model(tmp_path, model, config, options, tokenizer)
    subject = clsight.load(tmp_path)
    assert_same_model(subject, model, tmp_path)
    record = clsight.capture(subject, subject.examples)
    assert float(record.attention_error.max()) < SELF_CHECK
    assert (record.token_kind.values[:, 0] == "cls").all()
    assert ("logits" in record) == ("head" in family)
    assert subject.token_kinds == ("cls", "word", "special")
    assert subject.provenance["missing"] == subject.provenance["unexpected"] == {}
    assert len(subject.classes) == (3 if "head" in family else 0)


@pytest.mark.parametrize("family", PICTURE_FAMILIES)
def test_a_model_of_pictures_is_loaded_and_captured(tmp_path, family):
    model, config, options = PICTURE_FAMILIES[family]
    save_model(tmp_path, model, config, options)
    subject = clsight.load(tmp_path)
    if family != "clip vision projection":  # loaded without its projection, whose output is no logits
        assert_same_model(subject, model, tmp_path)
    record = clsight.capture(subject, subject.examples)
    assert float(record.attention_error.max()) < SELF_CHECK
    kinds = record.token_kind.values[0].tolist()
    assert kinds[0] == "cls"
    assert kinds.count("patch") == (24 if options["image_size"] == [32, 48] else 16)
    assert kinds.count("distillation") == ("deit" in family)
    assert kinds.count("register") == {"dinov2 registers": 4, "dinov3": 3}.get(family, 0)
    assert ("logits" in record) == ("head" in family)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "electra"])
def test_the_vector_of_cls_is_its_row_of_the_word_embedding(tmp_path, family):
    model, config, options, tokenizer = TEXT_FAMILIES[family]
    save_text_model(tmp_path, model, config, options, tokenizer)
    subject = clsight.load(tmp_path)
    first = subject.prepare("the plan").inputs["input_ids"][0, 0]
    embedded = subject.module.get_input_embeddings().weight[first]
    assert torch.equal(subject.cls_vector.values, embedded)
    trained = clsight.capture(subject, subject.examples)
    with clsight.cls_token.replaced(subject, "zeros"):
        zeros = clsight.capture(subject, subject.examples)
    assert abs(zeros.attends_to - trained.attends_to).max() > 1e-3


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2 registers", "clip vision"])
def test_the_vector_of_cls_is_the_parameter_of_a_model_of_pictures(tmp_path, family):
    save_model(tmp_path, *PICTURE_FAMILIES[family])
    subject = clsight.load(tmp_path)
    trained = clsight.capture(subject, subject.examples)
    with clsight.cls_token.replaced(subject, "zeros"):
        zeros = clsight.capture(subject, subject.examples)
    again = clsight.capture(subject, subject.examples)
    assert abs(zeros.attends_to - trained.attends_to).max() > 1e-3
    assert again.identical(trained)


def test_provenance_is_plain_and_says_what_was_assumed(tmp_path):
    save_model(tmp_path, *PICTURE_FAMILIES["vit head"])
    found = clsight.load(tmp_path).provenance
    assert found["format"] == "a transformers folder, safetensors"
    assert found["class"] == "ViTForImageClassification"
    assert found["attention"] == "sdpa"
    assert len(found["sha256"]) == 64
    assert found["examples"] == "synthetic pictures, seed 0"
    assert found["assumed"]["pictures"].startswith("No preprocessor_config.json: scaled to 32 × 48")


def test_nothing_is_printed_and_no_random_state_changes(tmp_path, capfd):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert head"])
    capfd.readouterr()
    state = torch.random.get_rng_state()
    clsight.load(tmp_path, architecture="transformers:BertModel")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_a_stated_position_counts(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    assert clsight.load(tmp_path, cls_index=2).cls_index == 2
