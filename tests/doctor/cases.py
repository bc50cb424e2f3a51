"""One ill model per thing that a check can find, beside a healthy twin in which it finds nothing."""

import torch

import clsight
from clsight.loading import as_subject
from clsight.loading.fitting import by_layer
from clsight.models import ClassificationTransformer as OwnClassifier
from clsight.models import ModelConfig
from doctor import cls_patients, layer_patients, mask_patients, patients
from doctor.case import Case
from doctor.forum_classifier import ClassificationTransformer
from doctor.mask_patients import of_length, taking, under
from doctor.patients import series
from encoder_builders import randomize


def subject(*, strategy="learned", layers=2, **provenance):
    """Return a small subject whose loader noted something."""
    config = ModelConfig(classes=3, width=12, heads=3, layers=layers, strategy=strategy, max_time=9)
    examples = clsight.Examples(series().numpy())
    made = as_subject(randomize(OwnClassifier(config)), name="small", examples=examples)
    made.provenance |= provenance
    return made


def forum():
    torch.manual_seed(0)
    return ClassificationTransformer(12, 4, 2).eval()


def loaded(*, missing=(), unexpected=(), layers=2):
    """Return what makes a subject whose loader missed some weights: its norms are then 1 and 0."""

    def make():
        made = subject(layers=layers, missing=by_layer(missing), unexpected=by_layer(unexpected))
        for name in missing:
            if "norm" in name:
                made.module.get_parameter(name).data.fill_(float(name.endswith("weight")))
        return made

    return make


def in_half():
    return patients.zero_start(1e-12).half()


def half_twin():
    return patients.zero_start(1e-12, trained=False).half()


HALF = {"inputs": series().half()}
PADDED = {"inputs": {"x": series(), "token_mask": torch.arange(7).expand(4, -1) < 5}}
IN_LAYER_11 = [f"encoder.layers.11.{name}" for name in ("norm1.weight", "norm1.bias", "linear1.weight")]
HEAD = ["head.weight", "head.bias"]
IN_LAYER = "encoder.layers.1.linear1.weight"
NO_OUTPUT = "changing it changes no output. What enters at position 0"
PICTURES = {"inputs": cls_patients.pictures()}

CASES = [
    Case("capture_runs", "error", "encoder.layers.1`: expected finite attention scores", patients.nan_weight),
    Case(
        "forward_is_own",
        "warning",
        "holds a tensor for [CLS], but whether the real forward uses it",
        lambda: subject(forward="reconstructed"),
        subject,
    ),
    Case(
        "forward_is_own",
        "warning",
        "holds no tensor for [CLS]",
        lambda: subject(strategy="zeros", forward="reconstructed"),
        subject,
    ),
    Case("cls_enters_encoder", "error", "torch.randn (4, 1, 12) is drawn at each forward pass", forum),
    Case("cls_enters_encoder", "error", "the attention sees 7 tokens, as many as the input has", forum),
    Case(
        "cls_enters_encoder", "error", "changing `cls` changes no output; the", patients.forgotten_parameter
    ),
    Case(
        "cls_enters_encoder",
        "error",
        "`cls` enters the encoder, but no output",
        lambda: patients.blocked(parameter=True),
    ),
    Case(
        "cls_enters_encoder",
        "error",
        "No output depends on the position",
        lambda: patients.blocked(parameter=False),
    ),
    Case(
        "cls_enters_encoder",
        "warning",
        "`extra` has the size of one token",
        patients.forgotten_vector,
    ),
    Case(
        "cls_enters_encoder",
        "error",
        "`cls` enters the encoder, but no output",
        cls_patients.root_blind,
        patients.OwnAttention,
    ),
    Case(
        "cls_enters_encoder",
        "error",
        "No output depends on [CLS]: changing `cls` changes none; the attention sees 8 tokens for 7",
        lambda: cls_patients.root_blind(is_seen=False),
        patients.OwnAttention,
    ),
    Case("cls_enters_encoder", "error", "`cls` does not enter the first layer", cls_patients.joined_later),
    *(
        Case("cls_enters_encoder", "warning", f"`cls` is without effect: {NO_OUTPUT} {instead}", ill)
        for instead, ill in {
            "is redrawn at each forward pass": cls_patients.redrawn_instead,
            "is made from the input": cls_patients.mean_instead,
            "is zero in all channels": cls_patients.zeros_instead,
            "is another vector, the same in all samples": cls_patients.ones_instead,
        }.items()
    ),
    Case("cls_enters_encoder", "warning", "(torch.rand (3,))", patients.idle_draw),
    Case("input_at_cls", "error", "an ordinary token, not a [CLS]", forum),
    Case("input_at_cls", "error", "an ordinary token", lambda: subject(strategy="first_token"), subject),
    Case("input_at_cls", "warning", "it is made from the input", patients.mean_as_cls),
    Case("cls_is_fixed", "warning", "[CLS] is redrawn at each forward pass", patients.redrawn_cls),
    Case("cls_is_fixed", "warning", "[CLS] is redrawn at each forward pass", patients.own_stream),
    Case(
        "input_at_cls",
        "warning",
        "No [CLS] was found: no parameter or buffer holds one. What enters at position 0 differs",
        cls_patients.without_cls,
        cls_patients.OfPictures,
        options=PICTURES,
    ),
    Case(
        "cls_is_fixed",
        "warning",
        "[CLS] is redrawn at each forward pass",
        cls_patients.root_redrawn,
        patients.OwnAttention,
    ),
    Case(
        "cls_is_fixed",
        "warning",
        "The output follows random draws",
        lambda: cls_patients.root_redrawn(is_seen=False),
        patients.OwnAttention,
    ),
    Case("cls_is_fixed", "warning", "other random draws change the output", patients.noisy_tokens),
    Case("cls_is_not_zero", "note", "zero in all channels", patients.zero_cls),
    Case("cls_is_unique", "warning", "Positions 0 and 1 enter", patients.twin_registers),
    Case(
        "cls_is_unique",
        "warning",
        "Positions 1 and 2 enter",
        lambda: cls_patients.twin_registers_of_its_own(cls_patients.Registers()),
        cls_patients.Registers,
    ),
    Case(
        "cls_is_unique",
        "warning",
        "Positions 1 and 2 enter",
        lambda: cls_patients.twin_registers_of_its_own(cls_patients.OfPictures()),
        cls_patients.OfPictures,
        options=PICTURES,
    ),
    Case("rows_sum_to_one", "error", "sums to 0 in", patients.blind_cls, patients.OwnAttention),
    Case("padding_gets_nothing", "error", "calls 8 tokens padding", patients.unmasked, options=PADDED),
    Case("mask_is_honored", "error", "`token_mask` is silently dropped", patients.unmasked),
    Case("mask_is_honored", "warning", "changing them changes the answer", patients.averaged_over_padding),
    *(
        Case(
            "mask_is_honored",
            "error",
            f"`{name}` is silently dropped",
            lambda name=name: taking(name, is_honored=False),
            lambda name=name, means_real=means_real: taking(name, means_real=means_real),
            options=under(name, of_length(means_real=means_real, dtype=dtype)),
        )
        for name, means_real, dtype in (
            ("mask", True, torch.bool),
            ("mask", False, torch.bool),
            ("mask", True, torch.int64),
            ("padding_mask", True, torch.bool),
            ("padding_mask", False, torch.float32),
            ("key_padding_mask", False, torch.bool),
        )
    ),
    Case(
        "mask_is_honored",
        "error",
        "`key_padding_mask` is silently dropped",
        lambda: taking("key_padding_mask", is_honored=False),
        lambda: taking("key_padding_mask"),
    ),
    Case(
        "mask_is_honored",
        "warning",
        "`mask` hides no token from [CLS]",
        mask_patients.masked_in_the_mean,
        lambda: taking("mask", means_real=True),
        options=under("mask", of_length()),
    ),
    Case(
        "mask_is_honored",
        "error",
        "`attention_mask` is silently dropped",
        lambda: mask_patients.end_of_text(is_honored=False),
        lambda: mask_patients.end_of_text(is_honored=True),
    ),
    Case("dropout_is_off", "warning", "1 times in a forward pass in eval", patients.forgetful_dropout),
    Case("dropout_is_off", "warning", "the module itself", patients.dropped_attention, patients.OwnAttention),
    Case("eval_mode", "warning", "modules act differently in it", lambda: patients.healthy().train()),
    Case("eval_mode", "note", "nothing in it acts", lambda: patients.healthy(dropout=0.0).train()),
    Case("weights_loaded", "error", "random: `encoder.layers.1` (1).", loaded(missing=[IN_LAYER]), loaded()),
    Case(
        "weights_loaded",
        "error",
        "5 weights were missing from the file and stayed as the module was built, 3 random and 2 constant: "
        "`encoder.layers.11` (3), elsewhere `head` (2).",
        loaded(missing=IN_LAYER_11 + HEAD, layers=12),
        loaded(layers=12),
    ),
    Case("weights_loaded", "warning", "2 weights were missing", loaded(missing=HEAD), loaded()),
    Case("weights_loaded", "warning", "found no place", loaded(unexpected=[f"model.{IN_LAYER}"]), loaded()),
    Case("weights_loaded", "note", "found no place", loaded(unexpected=["pooler.weight"]), loaded()),
    Case("layers_are_trained", "warning", "All 2 layers look untouched", patients.untrained),
    Case("layers_differ", "warning", "2 of 2 layers", layer_patients.equal_layers),
    Case(
        "layers_differ",
        "warning",
        "2 of 4 layers have weights equal bit for bit (`layers.0` and `layers.2`)",
        layer_patients.equal_layers_apart,
        layer_patients.own_layers,
    ),
    Case(
        "layers_differ",
        "warning",
        "4 of 4 layers",
        layer_patients.equal_layers_in_pairs,
        layer_patients.own_layers,
    ),
    Case(
        "depth_is_used", "warning", "`depth` is 6, but 2 attention layers ran", layer_patients.ignored_depth
    ),
    Case(
        "depth_is_used",
        "warning",
        "1 layer never ran: `layers.2`.",
        layer_patients.idle_layers,
        layer_patients.own_layers,
    ),
    Case(
        "depth_is_used",
        "warning",
        "2 layers never ran: `extra.layers.0`, `extra.layers.1`",
        layer_patients.idle_encoder,
    ),
    Case(
        "layers_are_own", "warning", "listed 3 times", layer_patients.listed_twice, layer_patients.own_layers
    ),
    Case(
        "layers_are_own",
        "warning",
        "2 layers share",
        layer_patients.shared_weights,
        layer_patients.own_layers,
    ),
    Case(
        "layers_are_own",
        "note",
        "`layers.0` runs 2 times",
        layer_patients.run_twice,
        layer_patients.own_layers,
    ),
    Case("query_is_not_zero", "warning", "zero in `encoder.layers.0`", patients.without_query),
    Case("attention_is_not_even", "warning", "all heads of `en", lambda: patients.even_heads(range(3))),
    Case("attention_is_not_even", "note", "1 of 6 heads", lambda: patients.even_heads([1])),
    Case("no_sink", "note", "A sink: `[CLS]` receives", lambda: patients.drawn_to_cls(12.0)),
    Case("looks_at_input", "note", "goes to special tokens", lambda: patients.drawn_to_cls(12.0)),
    Case("scores_are_not_saturated", "warning", "all heads of", lambda: patients.drawn_to_cls(90.0)),
    Case("scores_are_not_saturated", "note", "2 of 6 heads", lambda: patients.drawn_to_cls(90.0, [1])),
    Case("states_are_even", "note", "Massive activations: ", patients.massive),
    Case("states_are_even", "note", "An outlier: token 3", patients.outlier),
    Case("norm_gradient", "warning", "of [CLS] by 1,000,000", lambda: patients.zero_start(1e-12)),
    Case("norm_gradient", "note", "of [CLS] by 316", lambda: patients.zero_start(1e-5)),
    Case("norm_gradient", "error", "the gradient NaN", in_half, half_twin, options=HALF),
    Case("self_check_error", "note", "1 of 1 layers", patients.dropped_attention, patients.OwnAttention),
]
