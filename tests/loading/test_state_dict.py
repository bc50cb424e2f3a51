"""A state dict without its class: the reconstructed forward pass gives the maps of the user's own."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clsight
from clsight.errors import CheckpointError
from clsight.loading import load
from clsight.loading.fitting import names_in
from clsight.loading.provenance_words import reconstruction_sentence
from doctor.forum_classifier import ClassificationTransformer
from encoder_builders import randomize
from user_modules import (
    CLASSES,
    HEADS,
    USERS,
    WIDTH,
    FixedForum,
    Pictures,
    Series,
    Text,
    layer,
)

# The reconstruction runs the same operations in the same order; torch's native fast path of a layer does not.
CLOSE = 1e-6


def saved(module, path, **beside):
    randomize(module)
    torch.save({"state_dict": module.state_dict(), **beside} if beside else module.state_dict(), path)
    return path


def message_of(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.fixture(params=USERS, ids=lambda user: user.kind.__name__)
def user(request):
    return request.param


def test_reconstruction_gives_the_maps_of_the_users_own_forward(user, tmp_path):
    module = user.kind()
    subject = load(saved(module, tmp_path / "mine.pt"), heads=HEADS, **user.stated)
    own = clsight.capture(module, subject.prepare(subject.examples).inputs, cls_index=subject.cls_index)
    record = clsight.capture(subject, subject.examples)
    assert record.attends_to.shape == own.attends_to.shape
    np.testing.assert_allclose(record.attends_to, own.attends_to, atol=CLOSE)
    np.testing.assert_allclose(record.attended_by, own.attended_by, atol=CLOSE)
    assert float(np.abs(record.attends_to - 1 / record.sizes["token"]).max()) > 0.04  # not all even


def test_reconstruction_gives_the_logits_of_the_users_own_forward(user, tmp_path):
    module = user.kind()
    subject = load(saved(module, tmp_path / "mine.pt"), heads=HEADS, **user.stated)
    x = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        given, own = subject.module(x), module(x)
    if user.kind is FixedForum:  # without a head the states come out, [batch, token, width]
        given = given[:, 0]
    torch.testing.assert_close(given, own, atol=1e-5, rtol=1e-5)


def test_cls_and_what_the_module_takes_are_found(user, tmp_path):
    module = user.kind()
    subject = load(saved(module, tmp_path / "mine.pt"), heads=HEADS, **user.stated)
    assert subject.takes == user.takes
    assert subject.cls_vector.values.shape == (WIDTH,)
    torch.testing.assert_close(subject.cls_vector.values, module.state_dict()[user.cls].flatten())
    kinds = subject.prepare(subject.examples).token_kind
    assert np.unique(kinds[:, subject.cls_index]).tolist() == ["cls"]
    assert int((kinds[0] == "cls").sum()) == 1
    assert subject.provenance["missing"] == {}


def test_safetensors_and_wrapped_names_load_alike(tmp_path):
    module = Series()
    plain = load(saved(module, tmp_path / "a.pt"), heads=HEADS)
    named = {f"module._orig_mod.{name}": tensor for name, tensor in module.state_dict().items()}
    save_file(named, tmp_path / "b.safetensors")
    wrapped = load(tmp_path / "b.safetensors", heads=HEADS)
    x = plain.prepare(plain.examples).inputs
    assert torch.equal(plain.module(x), wrapped.module(x))
    assert wrapped.provenance["inferred"] == plain.provenance["inferred"]


def test_lightning_checkpoint_states_what_its_hyper_parameters_say(tmp_path):
    module = randomize(Series())
    weights = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    beside = {
        "epoch": 3,
        "hyper_parameters": {"nhead": HEADS, "norm_first": True, "activation": "gelu", "lr": 1e-3},
    }
    torch.save({"state_dict": weights, **beside}, tmp_path / "epoch=3.ckpt")
    subject = load(tmp_path / "epoch=3.ckpt")
    x = subject.prepare(subject.examples).inputs
    torch.testing.assert_close(subject.module(x), module(x))
    assert subject.provenance["inferred"]["heads"] == "4 heads as the file says"
    assert "norm" not in subject.provenance["assumed"]


def test_what_the_user_states_goes_before_what_the_file_says(tmp_path):
    path = saved(Series(), tmp_path / "m.pt", config={"num_heads": 2, "classes": list("abcd")})
    subject = load(path, heads=HEADS)
    assert subject.provenance["inferred"]["heads"] == "4 heads as you said (the file says 2)"
    assert subject.classes == ("a", "b", "c", "d")


def test_missing_heads_are_asked_for_with_the_divisors_of_the_width(tmp_path):
    path = saved(FixedForum(), tmp_path / "m.pt")
    assert message_of(path) == (
        "`heads`: expected the number of attention heads, which names and shapes do not tell, but got none. "
        f"Width 24 in {path}. Pass heads=N (--heads N), a divisor of 24: 1, 2, 3, 4, 6, 8, 12, 24."
    )


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    path = saved(FixedForum(), tmp_path / "m.pt")
    assert "`heads`: expected a divisor of the width 24, but got 5." in message_of(path, heads=5)


def test_contradicting_heads_in_a_file_are_asked_for(tmp_path):
    path = saved(FixedForum(), tmp_path / "m.pt", encoder={"nhead": 3}, decoder={"nhead": 4})
    assert "which names and shapes do not tell, but got none" in message_of(path)


def test_unknown_activation_in_a_file_is_refused(tmp_path):
    path = saved(FixedForum(), tmp_path / "m.pt", args={"nhead": 3, "activation": "silu"})
    assert "`activation`: expected relu or gelu, but got 'silu'." in message_of(path)
    assert load(path, activation="gelu").provenance["inferred"]["activation"] == "gelu as you said"


# --- what is told ---


def test_sentence_names_what_is_inferred_and_assumed(tmp_path):
    subject = load(saved(Series(), tmp_path / "m.pt"), heads=HEADS)
    assert reconstruction_sentence(subject.provenance) == (
        "Reconstructed forward. Inferred: 2 layers (`encoder.layers`), width 24, feed-forward 40, 4 heads as "
        "you said, CLS `cls_vector`, 5 features (`to_tokens`), 10 positions (`pos_embedding`), a norm after "
        "the last layer (`encoder.norm`), head `head` with 4 classes; assumed: norm after each part of a "
        "layer (post, torch's default), though `encoder.norm` after the last layer suggests before (--norm "
        "pre), relu (torch's default), epsilon of the norms 1e-05, CLS in front, the head reads position 0, "
        "the first position belongs to CLS."
    )


def test_record_says_that_the_forward_is_reconstructed(tmp_path):
    subject = load(saved(Series(), tmp_path / "m.pt"), heads=HEADS)
    [note] = clsight.capture(subject, subject.examples).attrs["notes"]
    assert note == reconstruction_sentence(subject.provenance)


def test_models_with_a_known_forward_have_no_such_sentence():
    subject = load(clsight.sample_models_dir() / "digits-learned")
    assert reconstruction_sentence(subject.provenance) == ""
    assert clsight.capture(subject, subject.examples[:1]).attrs["notes"] == []


def test_class_of_the_thread_has_no_cls_in_its_file(tmp_path):
    subject = load(saved(ClassificationTransformer(WIDTH, HEADS, 3), tmp_path / "m.pt"), heads=HEADS)
    assert subject.cls_index == 0
    assert subject.cls_vector is None
    assert subject.token_kinds == ("step",)
    assert subject.provenance["forward"] == "reconstructed"
    assert "CLS not found, so position 0 is an ordinary token" in subject.provenance["assumed"]["cls"]
    record = clsight.capture(subject, subject.examples)
    assert record.sizes["layer"] == 3
    assert "logits" not in record
    assert float(record.attention_error.max()) < 1e-5


def test_caller_chooses_the_position_where_there_is_no_cls(tmp_path):
    path = saved(ClassificationTransformer(WIDTH, HEADS, 1), tmp_path / "m.pt")
    subject = load(path, heads=HEADS, cls_index=4)
    first = clsight.capture(subject, subject.examples)
    np.testing.assert_array_equal(first.cls_index, 4)
    assert "position 4 is an ordinary token" in subject.provenance["assumed"]["cls"]


def test_tensors_that_are_not_used_are_listed(tmp_path):
    module = Text()
    module.segment_embedding = torch.nn.Embedding(2, WIDTH)
    provenance = load(saved(module, tmp_path / "m.pt"), heads=HEADS).provenance
    assert provenance["unexpected"]["segment_embedding"] == ["weight"]
    assert len(names_in(provenance["unexpected"])) == 13
    assert provenance["set_aside"] == {
        "encoder_layer": "the layer that the encoder's layers were copied from"
    }
    assert reconstruction_sentence(provenance).endswith(
        "not used: `encoder_layer` (the layer that the encoder's layers were copied from), "
        "`segment_embedding.weight`."
    )


def test_tensors_beside_the_weights_are_listed_by_what_holds_them(tmp_path):
    path = tmp_path / "m.pt"
    weights = randomize(FixedForum()).state_dict()
    beside = {"ema": {"shadow": torch.ones(2), "decay": torch.ones(1)}, "loss": torch.tensor(0.3), "epoch": 3}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}
    torch.save({"model_state_dict": weights, **beside, "optimizer": optimizer}, path)
    sentence = reconstruction_sentence(load(path, heads=HEADS).provenance)
    assert sentence.endswith("not used: `ema` (2), `loss`.")


def test_head_of_several_maps_gives_no_answer(tmp_path):
    module = Series()
    module.head = torch.nn.Sequential(torch.nn.Linear(WIDTH, 7), torch.nn.Tanh(), torch.nn.Linear(7, CLASSES))
    subject = load(saved(module, tmp_path / "m.pt"), heads=HEADS)
    assert "no answer is computed" in subject.provenance["assumed"]["head"]
    assert "logits" not in clsight.capture(subject, subject.examples)


def test_pictures_of_another_shape_than_a_square_take_the_size_from_the_file(tmp_path):
    module = Pictures()
    module.pos_embed = torch.nn.Parameter(torch.rand(1, 7, WIDTH))  # CLS and 2 x 3 patches
    assumed = load(saved(module, tmp_path / "a.pt"), heads=HEADS)
    assert assumed.provenance["assumed"]["grid"] == "6 patches in 2 rows of 3"
    path = saved(module, tmp_path / "b.pt", hyper_parameters={"image_size": [12, 8]})
    stated = load(path, heads=HEADS)
    assert stated.prepare(stated.examples).inputs.shape[1:] == (1, 12, 8)
    assert stated.prepare(stated.examples).row[0].tolist() == [-1, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "module",
    [torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), layer(), FixedForum().transformer_encoder],
)
def test_layer_without_anything_around_it_is_loaded(module, tmp_path):
    subject = load(saved(module, tmp_path / "m.pt"), heads=HEADS)
    x = subject.prepare(subject.examples).inputs
    record = clsight.capture(subject, subject.examples)
    own = clsight.capture(module, (x, x, x) if isinstance(module, torch.nn.MultiheadAttention) else x)
    np.testing.assert_allclose(record.attends_to, own.attends_to, atol=CLOSE)
    assert subject.provenance["unexpected"] == subject.provenance["missing"] == {}


def test_parts_keep_the_names_that_users_give_them(tmp_path):
    module = torch.nn.Module()
    module.plan = Series()  # names that attributes of the reconstruction could have
    module.plan.tensor = torch.nn.Linear(WIDTH, 3)
    module.plan.head = torch.nn.Identity()
    subject = load(saved(module, tmp_path / "m.pt"), heads=HEADS)
    names = dict(module.named_parameters())
    assert {name for name, _ in subject.module.named_parameters()} == names.keys() - {
        "plan.tensor.weight"
    } | {"plan.tensor.weight"}


@pytest.mark.parametrize("cls_index", [0, 3, -1, -2])
def test_cls_enters_where_the_caller_says(cls_index, tmp_path):
    class Elsewhere(FixedForum):
        def forward(self, x):
            place = cls_index if cls_index >= 0 else x.shape[1] + 1 + cls_index
            cls = self.cls_token.expand(len(x), -1, -1)
            return self.transformer_encoder(torch.cat([x[:, :place], cls, x[:, place:]], dim=1))[:, cls_index]

    module = Elsewhere()
    subject = load(saved(module, tmp_path / "m.pt"), heads=HEADS, cls_index=cls_index)
    prepared = subject.prepare(subject.examples)
    own = clsight.capture(module, prepared.inputs, cls_index=cls_index)
    record = clsight.capture(subject, subject.examples)
    np.testing.assert_allclose(record.attends_to, own.attends_to, atol=CLOSE)
    assert prepared.token_text[0, cls_index] == "[CLS]"
