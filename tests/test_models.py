"""The reference classifier computes what slow float64 loops compute, and its weights follow from its seed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import reference
from clsight.cls_token import CLS_STRATEGIES
from clsight.errors import ClsightError
from clsight.models import ClassificationTransformer, ModelConfig

BATCH, TIME, FEATURES = 3, 6, 5
CONFIG = ModelConfig(
    classes=4,
    width=12,
    heads=3,
    layers=2,
    feedforward=10,
    max_time=9,
    embedding="linear",
    features=FEATURES,
    seed=7,
)
NAMES = tuple(CLS_STRATEGIES)


def inputs(seed=0):
    """Return x [batch, time, features] and a mask with 6, 4 and 1 real tokens."""
    x = torch.randn(BATCH, TIME, FEATURES, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(TIME) < torch.tensor([[6], [4], [1]])


def perturbed(config, dtype=torch.float32):
    """Return a model whose every weight is random, also biases and norms, in eval mode."""
    model = ClassificationTransformer(config)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model.to(dtype).eval()


def slow_logits(model, x, mask):
    """Return the logits by slow float64 loops, sample by sample; [CLS] from the strategy itself."""
    config, strategy = model.config, model.cls_token
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    strategy.reseed()
    starts = strategy.initial(model.embed(x).detach(), mask).detach() if strategy.in_sequence else None
    logits = []
    for sample in range(len(x)):
        tokens = [reference.linear(step, weights, "embed.") for step in x[sample].double().numpy()]
        real = mask[sample].tolist()
        places = list(weights["position"]) if config.position != "none" else [0.0] * 99
        for_cls = places.pop(0) if config.position == "with_cls" else 0.0
        tokens = [token + place for token, place in zip(tokens, places, strict=False)]
        if starts is not None:
            tokens, real = [starts[sample].double().numpy() + for_cls, *tokens], [True, *real]
        states = reference.encoded(
            np.stack(tokens), real, weights, layers=config.layers, heads=config.heads, norm=config.norm
        )
        if strategy.readout_index is None:
            read = sum(state for state, is_real in zip(states, real, strict=True) if is_real) / sum(real)
        else:
            read = states[0]
        logits.append(reference.linear(read, weights, "head."))
    return np.stack(logits)


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_slow_loops_for_each_strategy(name):
    model = perturbed(replace(CONFIG, strategy=name), torch.float64)
    x, mask = inputs()
    slow = slow_logits(model, x.double(), mask)
    model.reseed()
    with torch.no_grad():
        fast = model(x.double(), mask).numpy()
    np.testing.assert_allclose(fast, slow, atol=1e-12)  # float64 sums of at most 72 terms near 1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("position", ["with_cls", "without_cls", "none"])
def test_logits_equal_slow_loops_for_each_setting(norm, position, bias):
    model = perturbed(replace(CONFIG, norm=norm, position=position, bias=bias), torch.float64)
    x, mask = inputs()
    with torch.no_grad():
        fast = model(x.double(), mask).numpy()
    np.testing.assert_allclose(fast, slow_logits(model, x.double(), mask), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_the_logits(name):
    model = perturbed(replace(CONFIG, strategy=name))
    x, mask = inputs()
    other = torch.where(mask.unsqueeze(-1), x, 5.0)
    with torch.no_grad():
        model.reseed()
        first = model(x, mask)
        model.reseed()
        second = model(other, mask)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_batch_without_padding_needs_no_mask(name):
    model = perturbed(replace(CONFIG, strategy=name))
    x, mask = inputs()
    with torch.no_grad():
        model.reseed()
        first = model(x)
        model.reseed()
        second = model(x, torch.ones_like(mask))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)  # two attention kernels in float32


def test_strategies_share_every_other_weight_bit_for_bit():
    reference_weights = ClassificationTransformer(CONFIG).state_dict()
    for name in NAMES:
        weights = ClassificationTransformer(replace(CONFIG, strategy=name)).state_dict()
        shared = {key: value for key, value in weights.items() if not key.startswith("cls_token.")}
        assert len(shared) == sum(not key.startswith("cls_token.") for key in reference_weights)
        assert all(torch.equal(value, reference_weights[key]) for key, value in shared.items())


def test_seed_decides_every_drawn_weight():
    first, same, other = (
        ClassificationTransformer(replace(CONFIG, seed=seed)).state_dict() for seed in (7, 7, 8)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    drawn = [name for name, weight in first.items() if weight.dim() > 1 or name == "cls_token.vector"]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("name", NAMES)
def test_model_leaves_the_global_random_state_alone(name):
    before = torch.random.get_rng_state()
    ClassificationTransformer(replace(CONFIG, strategy=name)).eval()(inputs()[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_do_not_start_as_copies():
    first, second = ClassificationTransformer(CONFIG).encoder.layers
    for name, weight in first.named_parameters():
        if weight.dim() > 1:
            assert not torch.equal(weight, second.get_parameter(name))


@pytest.mark.parametrize("layers", [1, 3])
def test_depth_asked_for_is_used(layers):
    model = ClassificationTransformer(replace(CONFIG, layers=layers))
    model(inputs()[0]).sum().backward()
    assert len(model.encoder.layers) == layers
    for layer in model.encoder.layers:
        assert layer.self_attn.in_proj_weight.grad.abs().sum() > 0


def test_bias_off_leaves_no_bias_in_the_encoder():
    model = ClassificationTransformer(replace(CONFIG, bias=False))
    assert not [name for name, _ in model.encoder.named_parameters() if name.endswith("bias")]


@pytest.mark.parametrize("name", [n for n in NAMES if CLS_STRATEGIES[n].in_sequence])
def test_cls_enters_the_encoder(name, monkeypatch):
    model = perturbed(replace(CONFIG, strategy=name))
    x, mask = inputs()
    model.reseed()
    before = model(x, mask)
    start = type(model.cls_token).initial
    # A ramp, since a shift of all channels alike is invisible behind a layer norm.
    monkeypatch.setattr(type(model.cls_token), "initial", lambda *given: start(*given) + torch.arange(12.0))
    model.reseed()
    assert (model(x, mask) - before).abs().max() > 1e-3


def test_first_token_gives_what_the_bug_of_the_thread_gives():
    model = perturbed(replace(CONFIG, strategy="first_token", position="none"))
    x, _ = inputs()
    encodings = model.encoder(model.embed(x))  # the thread encodes x, not the tokens with [CLS] in front
    assert torch.equal(model(x), model.head(encodings[:, 0]))


def test_random_per_forward_changes_logits_and_reseed_repeats_them():
    model = perturbed(replace(CONFIG, strategy="random_per_forward"))
    x, mask = inputs()
    first, second = model(x, mask), model(x, mask)
    model.reseed()
    assert not torch.equal(first, second)
    assert torch.equal(model(x, mask), first)
    assert torch.equal(copy.deepcopy(model)(x, mask), model(x, mask))


def test_patch_embedding_cuts_row_by_row():
    config = ModelConfig(
        classes=2, width=5, heads=1, embedding="patch", image_size=(4, 9), patch_size=(2, 3), position="none"
    )
    model = ClassificationTransformer(config).double()
    images = torch.randn(BATCH, 4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens = model.embed(images).detach().numpy()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for sample in range(BATCH):
        patches = reference.patches_of(images[sample].numpy(), (2, 3))
        slow = [reference.linear(patch, weights, "embed.project.") for patch in patches]
        np.testing.assert_allclose(tokens[sample], slow, atol=1e-14)
    assert config.patch_grid == (2, 3)
    assert model(images).shape == (BATCH, 2)


def test_token_embedding_takes_ids():
    config = ModelConfig(classes=2, width=4, heads=2, embedding="token", vocabulary=11)
    ids = torch.tensor([[3, 10, 0], [1, 1, 1]])
    model = ClassificationTransformer(config).eval()
    assert torch.equal(model.embed(ids)[0, 1], model.embed.weight[10])
    assert model(ids).shape == (2, 2)


def test_features_may_enter_without_an_embedding():
    model = ClassificationTransformer(ModelConfig(classes=2, width=4, heads=2))
    assert model(torch.ones(2, 3, 4)).shape == (2, 2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(2, 3), "expected floating [batch, time, features=5], but got torch.float32 [2, 3]"),
        (torch.ones(2, 3, 4), "expected floating [batch, time, features=5], but got torch.float32 [2, 3, 4]"),
        (
            torch.ones(2, 3, 5).long(),
            "expected floating [batch, time, features=5], but got torch.int64 [2, 3, 5]",
        ),
        (torch.ones(0, 3, 5), "but got torch.float32 [0, 3, 5]"),
        (torch.ones(2, 0, 5), "but got torch.float32 [2, 0, 5]"),
        (torch.ones(2, 10, 5), "expected at most time=9, but got time=10"),
    ],
)
def test_forward_refuses_inputs_of_another_shape(x, message):
    with pytest.raises(ClsightError) as caught:
        ClassificationTransformer(CONFIG)(x)
    assert message in str(caught.value)


@pytest.mark.parametrize("mask", [torch.ones(BATCH, TIME), torch.ones(BATCH, 1 + TIME, dtype=torch.bool)])
def test_forward_refuses_a_mask_of_another_kind(mask):
    with pytest.raises(ClsightError, match=r"expected torch\.bool \[batch=3, time=6\], but got"):
        ClassificationTransformer(CONFIG)(inputs()[0], mask)


@pytest.mark.parametrize("name", NAMES)
def test_sample_of_padding_alone_is_finite_or_refused(name):
    model = ClassificationTransformer(replace(CONFIG, strategy=name)).eval()
    x, mask = inputs()
    mask[1] = False
    if CLS_STRATEGIES[name].in_sequence:
        assert torch.isfinite(model(x, mask)).all()
    else:
        with pytest.raises(ClsightError, match="a sample that is all padding"):
            model(x, mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "before"}, "`norm`: expected a known option, but got 'before'."),
        ({"strategy": "zeroes"}, "Did you mean `zeros`?"),
        ({"embedding": "patches"}, "Did you mean `patch`?"),
        ({"position": None}, "`position`: expected a known option, but got None."),
        ({"heads": 5}, "`width`: expected a multiple of heads=5, but got 12."),
        ({"layers": 0}, "`layers`: expected a whole number from 1 to 512, but got 0."),
        ({"layers": 10**6}, "`layers`: expected a whole number from 1 to 512, but got 1000000."),
        ({"classes": 2.0}, "`classes`: expected a whole number from 1 to"),
        ({"classes": True}, "`classes`: expected a whole number from 1 to"),
        ({"dropout": 1.0}, "`dropout`: expected a probability in [0, 1), but got 1.0."),
        ({"bias": "yes"}, "`bias`: expected True or False, but got 'yes'."),
        ({"seed": -1}, "`seed`: expected a whole number from 0 to 2**63 - 1, but got -1."),
        ({"features": None}, "`features`: expected a value, since embedding is `linear`, but got None."),
        ({"strategy_options": ["shared"]}, "`strategy_options`: expected a mapping of option to value"),
        ({"embedding": "patch"}, "`image_size`: expected a value, since embedding is `patch`, but got None."),
        (
            {"embedding": "patch", "image_size": (8, 8), "patch_size": (3, 2)},
            "`patch_size`: expected sizes that divide (8, 8), but got (3, 2).",
        ),
        (
            {"embedding": "patch", "image_size": (8, 8), "patch_size": (0, 2)},
            "`patch_size`: expected (height, width) in pixels, but got (0, 2).",
        ),
    ],
)
def test_config_refuses_settings_that_do_not_fit(change, message):
    with pytest.raises(ClsightError) as caught:
        replace(CONFIG, **change)
    assert message in str(caught.value)


def test_config_refuses_unknown_settings_by_name():
    with pytest.raises(ClsightError, match="Did you mean `heads`"):
        ModelConfig.from_dict({**CONFIG.to_dict(), "head": 3})
    with pytest.raises(ClsightError, match="expected the number of `classes`"):
        ModelConfig.from_dict({"width": 4})


def test_config_survives_its_dictionary():
    config = ModelConfig(classes=2, embedding="patch", image_size=(4, 6), patch_size=(2, 3))
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_model_refuses_an_option_its_strategy_does_not_take():
    with pytest.raises(ClsightError, match="`strategy zeros`: expected a known option, but got `std`"):
        ClassificationTransformer(replace(CONFIG, strategy="zeros", strategy_options={"std": 1.0}))
