"""Which class a folder's model is: heads, towers, decoders, and what the user states."""

import json

import pytest

import clsight
from clsight.errors import CheckpointError
from huggingface_folders import CLIP_TEXT, SIZES, SQUARE, TEXT, TEXT_FAMILIES, save_model, save_text_model

T5 = dict(vocab_size=300, d_model=24, d_kv=8, num_heads=3, num_layers=2, d_ff=40)
BART = dict(vocab_size=300, d_model=24, encoder_layers=1, decoder_layers=1)
BART |= dict(encoder_attention_heads=3, decoder_attention_heads=3)
GPT = dict(vocab_size=300, n_embd=24, n_head=3, n_layer=2)
TOWERS = dict(text_config=CLIP_TEXT, vision_config=SQUARE, projection_dim=10)
SOUND = dict(
    conv_dim=[8, 8],
    conv_kernel=[3, 3],
    conv_stride=[2, 2],
    num_feat_extract_layers=2,
    num_conv_pos_embedding_groups=2,
    **SIZES,
)


@pytest.fixture
def bert(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert head"])
    return tmp_path


@pytest.mark.parametrize("family", ["CLIP", "Siglip"])
def test_of_two_towers_it_is_the_one_that_sees(tmp_path, family):
    save_model(tmp_path, f"{family}Model", f"{family}Config", TOWERS)
    subject = clsight.load(tmp_path)
    assert type(subject.module).__name__ == f"{family}VisionModel"
    assert subject.provenance["chosen"] == (
        f"The vision tower of {family}Model. For the text tower state architecture="
        f"'transformers:{family}TextModel'"
    )
    assert subject.provenance["missing"] == subject.provenance["unexpected"] == {}
    assert subject.takes == "image"
    text = clsight.load(tmp_path, architecture=f"transformers:{family}TextModel")
    assert type(text.module).__name__ == f"{family}TextModel"
    assert text.provenance["missing"] == text.provenance["unexpected"] == {}


@pytest.mark.parametrize(
    ("model", "config", "options", "got"),
    [
        ("T5Model", "T5Config", T5, "is_encoder_decoder=True"),
        ("BartModel", "BartConfig", BART, "is_encoder_decoder=True"),
        ("GPT2Model", "GPT2Config", GPT, "a decoder, whose tokens see only those before them"),
        ("GPT2ForSequenceClassification", "GPT2Config", GPT, "a decoder"),
        ("LlamaModel", "LlamaConfig", dict(num_key_value_heads=3, **TEXT), "a decoder"),
        ("Wav2Vec2Model", "Wav2Vec2Config", SOUND, "which takes `input_values`"),
    ],
)
def test_what_is_no_encoder_of_text_or_pictures_is_refused(tmp_path, model, config, options, got):
    save_model(tmp_path, model, config, options)
    with pytest.raises(CheckpointError, match=got):
        clsight.load(tmp_path)


def test_an_encoder_saved_without_its_decoder_is_loaded(tmp_path):
    save_text_model(tmp_path, "T5EncoderModel", "T5Config", T5, "pieces")
    subject = clsight.load(tmp_path)
    assert float(clsight.capture(subject, subject.examples).attention_error.max()) < 1e-5


def test_a_stated_class_counts(bert):
    subject = clsight.load(bert, architecture="transformers:BertModel")
    assert type(subject.module).__name__ == "BertModel"
    assert subject.provenance["unexpected"] == {"classifier": ["bias", "weight"]}


@pytest.mark.parametrize(
    "name", ["RobertaModel", "Nonsense", "BertConfig", "AutoModel", "os", "", "../x", "__class__"]
)
def test_a_stated_class_that_does_not_fit_is_refused(bert, name):
    with pytest.raises(CheckpointError):
        clsight.load(bert, architecture=f"transformers:{name or ' '}")


@pytest.mark.parametrize(
    "named", [None, [], [3], ["Nonsense"], ["os.system"], "BertModel", ["RobertaForSequenceClassification"]]
)
def test_a_class_that_a_file_names_in_vain_is_passed_over(bert, named):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "architectures": named}))
    assert type(clsight.load(bert).module).__name__ == "BertModel"
