"""Folders as transformers writes them: every family with a small model of random weights."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clsight.loading.default_examples import sentences
from encoder_builders import declare_torchvision_operators, randomize

SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
SPECIAL = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>"],
}
TEXT = dict(vocab_size=300, max_position_embeddings=64, pad_token_id=0, **SIZES)
PICTURE = dict(image_size=[32, 48], patch_size=8, num_labels=5, **SIZES)
SQUARE = {**PICTURE, "image_size": 32}
ROBERTA = {**TEXT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
DEBERTA = dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False, **TEXT)
MODERN = dict(cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, local_attention=8, **TEXT)
MODERN_HEAD = dict(num_labels=3, classifier_pooling="cls", **MODERN)
DISTIL = dict(vocab_size=300, max_position_embeddings=64, dim=24, n_layers=2, n_heads=3, hidden_dim=40)
ELECTRA = dict(embedding_size=16, **TEXT)
CLIP_TEXT = {**TEXT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
ADDED = {"__type": "AddedToken", "content": "[SEP]", "lstrip": False, "normalized": False, "special": True}

TEXT_FAMILIES = {
    "bert": ("BertModel", "BertConfig", TEXT, "bert"),
    "bert head": ("BertForSequenceClassification", "BertConfig", dict(num_labels=3, **TEXT), "bert"),
    "roberta": ("RobertaModel", "RobertaConfig", ROBERTA, "roberta"),
    "roberta head": (
        "RobertaForSequenceClassification",
        "RobertaConfig",
        dict(num_labels=3, **ROBERTA),
        "roberta",
    ),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig", ROBERTA, "roberta"),
    "distilbert": ("DistilBertModel", "DistilBertConfig", DISTIL, "bert"),
    "distilbert head": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        dict(num_labels=3, **DISTIL),
        "bert",
    ),
    "electra": ("ElectraModel", "ElectraConfig", ELECTRA, "bert"),
    "albert": ("AlbertModel", "AlbertConfig", dict(embedding_size=16, **TEXT), "pieces"),
    "mpnet": ("MPNetModel", "MPNetConfig", {**TEXT, "pad_token_id": 1}, "roberta"),
    "deberta-v2": ("DebertaV2Model", "DebertaV2Config", DEBERTA, "pieces"),
    "modernbert": ("ModernBertModel", "ModernBertConfig", MODERN, "modern"),
    "modernbert head": ("ModernBertForSequenceClassification", "ModernBertConfig", MODERN_HEAD, "modern"),
}
"""Of each family the class, its configuration's class, what the configuration says, and a tokenizer."""

PICTURE_FAMILIES = {
    "vit": ("ViTModel", "ViTConfig", PICTURE),
    "vit head": ("ViTForImageClassification", "ViTConfig", PICTURE),
    "deit": ("DeiTModel", "DeiTConfig", PICTURE),
    "deit head": ("DeiTForImageClassification", "DeiTConfig", SQUARE),
    "deit teacher head": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", SQUARE),
    "dinov2": ("Dinov2Model", "Dinov2Config", SQUARE),
    "dinov2 head": ("Dinov2ForImageClassification", "Dinov2Config", SQUARE),
    "dinov2 registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", SQUARE),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", dict(num_register_tokens=3, **SQUARE)),
    "beit": ("BeitModel", "BeitConfig", dict(use_relative_position_bias=True, **SQUARE)),
    "beit head": ("BeitForImageClassification", "BeitConfig", dict(use_mean_pooling=True, **SQUARE)),
    "clip vision": ("CLIPVisionModel", "CLIPVisionConfig", SQUARE),
    "clip vision projection": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", SQUARE),
}


def made_model(model, config, options):
    """Return a model of transformers with random weights, in eval mode."""
    declare_torchvision_operators()
    import transformers

    torch.manual_seed(0)
    return randomize(getattr(transformers, model)(getattr(transformers, config)(**options)))


def save_model(folder, model, config, options, **saving):
    """Write a model with random weights as transformers does, and return it."""
    made = made_model(model, config, options)
    made.save_pretrained(folder, **saving)
    return made


def save_text_model(folder, model, config, options, tokenizer):
    """Write a model of text with its tokenizer."""
    made = save_model(folder, model, config, options)
    save_tokenizer(folder, tokenizer)
    return made


def save_tokenizer(folder, kind):
    """Write the tokenizer files of a kind in `TOKENIZERS`, and return the tokenizer."""
    tokenizer, roles = TOKENIZERS[kind]()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**roles, "model_max_length": 10**30}))
    return tokenizer


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=250, special_tokens=SPECIAL["bert"], show_progress=False)
    tokenizer.train_from_iterator(sentences().inputs.tolist(), trainer)
    return with_bert_template(tokenizer)


def byte_pairs():
    tokenizer = byte_level(SPECIAL["roberta"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer, {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}


def modern():
    return with_bert_template(byte_level(SPECIAL["bert"]))


def byte_level(special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sentences().inputs.tolist(), trainer)
    return tokenizer


def pieces():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL["bert"], unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator(sentences().inputs.tolist(), trainer)
    return with_bert_template(tokenizer)


def with_bert_template(tokenizer):
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    return tokenizer, {"cls_token": "[CLS]", "sep_token": ADDED, "pad_token": "[PAD]"}


TOKENIZERS = {"bert": word_pieces, "roberta": byte_pairs, "modern": modern, "pieces": pieces}
