"""Tokenizers beside a model: as transformers reads them, and refused where they are broken or bring code."""

import json

import pytest

import clsight
from clsight.errors import CheckpointError
from clsight.loading.huggingface_tokenizer import read_tokenizer
from huggingface_folders import (
    TEXT_FAMILIES,
    byte_pairs,
    declare_torchvision_operators,
    save_text_model,
    word_pieces,
)

SENTENCES = [
    "Hello, the committee's café   waited 3.5 hours — naïve!",
    "  leading",
    "Ünïcödé 漢字 [MASK] <mask> ok\n",
    "",
]


@pytest.fixture
def bert(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    return tmp_path


def theirs(folder):
    declare_torchvision_operators()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_a_vocabulary_of_word_pieces_is_read_as_transformers_does(tmp_path, settings):
    vocabulary = word_pieces()[0].get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", **settings})
    )
    found = read_tokenizer(tmp_path, "bert")
    assert [found.tokenizer.encode(one).ids for one in SENTENCES] == theirs(tmp_path)(SENTENCES)["input_ids"]
    assert (found.cls_token, found.pad_token) == ("[CLS]", "[PAD]")


def test_a_vocabulary_of_byte_pairs_is_read_as_transformers_does(tmp_path):
    byte_pairs()[0].model.save(str(tmp_path))
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "<mask>": len(vocabulary)}))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    found = read_tokenizer(tmp_path, "roberta")
    wanted = theirs(tmp_path)
    assert [found.tokenizer.encode(one).ids for one in SENTENCES] == wanted(SENTENCES)["input_ids"]
    assert found.tokenizer.encode(*SENTENCES[:2]).ids == wanted(*SENTENCES[:2])["input_ids"]


def test_a_vocabulary_that_needs_another_library_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"expected tokenizer\.json, but got spiece\.model\. Write tokenizer"
    ):
        read_tokenizer(tmp_path, "albert")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"version": "1.0", "model": {"type": "Own"}}',
        b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}}',
        b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a": -1}}}',
        b'{"version": "1.0", "model": {"type": "Unigram", "vocab": [], "unk_id": 9}}',
        b"{" * 100_000,
    ],
    ids=lambda content: content[:30].decode(errors="replace") + str(len(content)),
)
def test_a_broken_tokenizer_is_refused(bert, content):
    (bert / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        clsight.load(bert)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["", "[]", "{", '{"cls_token": NaN}'])
def test_broken_settings_of_a_tokenizer_are_refused(bert, name, content):
    (bert / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        clsight.load(bert)


def test_a_tokenizer_with_code_of_its_own_is_refused(bert):
    (bert / "own.py").write_text("raise SystemExit('code of a file ran')")
    (bert / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Own", null]}}')
    with pytest.raises(CheckpointError, match="a tokenizer without code of its own"):
        clsight.load(bert)


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "os.system"},
        {"tokenizer_class": 3},
        {"cls_token": 3},
        {"cls_token": {"content": ["x"]}},
        {"pad_token": "no such token"},
        {"model_max_length": -1},
        {"model_max_length": "x"},
        {"chat_template": "{{ 1 / 0 }}"},
    ],
    ids=str,
)
def test_settings_that_say_nothing_are_passed_over(bert, settings):
    written = json.loads((bert / "tokenizer_config.json").read_text())
    (bert / "tokenizer_config.json").write_text(json.dumps({**written, **settings}))
    subject = clsight.load(bert)
    assert subject.cls_index == 0
    assert subject.prepare(["a", "the plan"]).token_mask.sum() > 4


def test_padding_and_truncation_that_a_file_asks_for_are_not_followed(bert):
    file = bert / "tokenizer.json"
    endless = {"strategy": {"Fixed": 10**12}, "direction": "Left", "pad_to_multiple_of": None}
    endless |= {"pad_id": 7, "pad_type_id": 0, "pad_token": "x"}
    short = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps({**json.loads(file.read_text()), "padding": endless, "truncation": short}))
    assert clsight.load(bert).prepare("the plan was cold").token_text.shape[1] > 3
