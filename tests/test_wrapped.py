"""Models as people wrap them: parallel, sharded, compiled, checkpointed, adapted. All is put back."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import clsight
from dense_attention import dense_attention
from encoder_builders import TEXT, hugging_face, words
from encoder_comparison import layer_errors
from encoder_zoo import ZOO
from module_state import state

pytestmark = pytest.mark.slow  # `make check` keeps the encoders of test_encoders.py

LAYERS = ["bert.encoder.layer.0", "bert.encoder.layer.1"]
WITHOUT_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **TEXT)


def bert(attention="sdpa"):
    """A classifier without dropout, so that it gives the same in train mode."""
    name = "BertForSequenceClassification"
    return hugging_face(name, "BertConfig", WITHOUT_DROPOUT, attention=attention)()


def largest_error(record, module, inputs):
    """Largest error of row and column against the dense attention of another, unwrapped module."""
    dense = dense_attention(module, inputs)
    assert len(dense) == record.sizes["layer"]
    return max(max(layer_errors(record.isel(layer=i), found, [0, 0, 0])) for i, found in enumerate(dense))


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_state_notices_a_hook_a_mode_and_a_value():
    module = bert()
    before = state(module)
    module.bert.register_forward_hook(lambda *_: None)
    assert state(module)["hooks"] != before["hooks"]
    module.bert.pooler.train()
    assert state(module)["modules"] != before["modules"]
    with torch.no_grad():
        module.classifier.bias.add_(1)
    assert state(module)["values"] != before["values"]


def check_capture(wrapped, module, prefix=""):
    """Capture a wrapped model, compare it with the unwrapped one, and check that all is as before."""
    inputs = words()
    before = state(wrapped)
    record = clsight.capture(wrapped, inputs)
    assert state(wrapped) == before
    assert list(record.layer_name.values) == [f"{prefix}{name}" for name in LAYERS]
    assert largest_error(record, module, inputs) <= 1e-5
    assert "value_norm" in record
    return record


def test_data_parallel_is_captured():
    module = bert()
    wrapped = nn.DataParallel(module)
    wrapped.device_ids = []  # as on a machine without a GPU, where it calls the module itself
    check_capture(wrapped, copy.deepcopy(module), "module.")


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_is_captured():
    module = bert()
    check_capture(nn.parallel.DistributedDataParallel(module), copy.deepcopy(module), "module.")


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_still_averages_gradients_inside_a_recorder():
    wrapped, plain = nn.parallel.DistributedDataParallel(bert()), bert()
    with clsight.Recorder(wrapped) as recorder:
        wrapped(**words()).logits.square().sum().backward()
    plain(**words()).logits.square().sum().backward()
    assert recorder.record.sizes["layer"] == 2
    for found, expected in zip(wrapped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


@pytest.mark.usefixtures("process_group")
def test_fully_sharded_model_is_captured():
    """FSDP2 on CPU, one process: parameters are sharded tensors, gathered by its hooks while a block runs."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    module = bert()
    original = copy.deepcopy(module)
    mesh = init_device_mesh("cpu", (1,))
    for layer in module.bert.encoder.layer:
        fully_shard(layer, mesh=mesh)
    sharded = fully_shard(module, mesh=mesh)
    with torch.no_grad():
        sharded(**words())  # the first forward sets up the sharding
    check_capture(sharded, original)


def compiled_whole(module):
    return torch.compile(module, backend="eager")


def compiled_in_place(module):
    module.compile(backend="eager")
    return module


def compiled_layers(module):
    for name, layer in module.bert.encoder.layer.named_children():
        setattr(module.bert.encoder.layer, name, torch.compile(layer, backend="eager"))
    return module


def layers_compiled_in_place(module):
    for layer in module.bert.encoder.layer:
        layer.compile(backend="eager")
    return module


COMPILED = [compiled_whole, compiled_in_place, compiled_layers, layers_compiled_in_place]


@pytest.mark.slow
@pytest.mark.parametrize("compile_module", COMPILED)
@pytest.mark.parametrize("has_run", [False, True])
def test_compiled_model_is_captured_and_stays_compiled(compile_module, has_run):
    original = bert()
    wrapped = compile_module(copy.deepcopy(original))
    with torch.no_grad():
        expected = original(**words()).logits
        if has_run:
            assert torch.allclose(wrapped(**words()).logits, expected, atol=1e-6)
    check_capture(wrapped, original)
    assert "uncompiled" in " ".join(clsight.capture(wrapped, words()).attrs["notes"])
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        assert torch.allclose(wrapped(**words()).logits, expected, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_checkpointed_transformers_model_is_captured_once_per_layer(use_reentrant):
    module, plain, inputs = bert(), bert(), words()
    module.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    module.train()
    before = state(module)
    with clsight.Recorder(module) as recorder:
        module(**inputs).logits.square().sum().backward()
        assert not recorder._forward._layers  # what backward runs again is not looked at again
    assert state(module) == before
    plain(**inputs).logits.square().sum().backward()
    assert list(recorder.record.layer_name.values) == LAYERS
    assert largest_error(recorder.record, plain, inputs) <= 1e-5
    for found, expected in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


class Checkpointed(nn.Module):
    """An encoder that keeps no activations between its layers."""

    def __init__(self, encoder, *, use_reentrant):
        super().__init__()
        self.encoder = encoder
        self.use_reentrant = use_reentrant

    def forward(self, src):
        for layer in self.encoder.layers:
            src = checkpoint(layer, src, use_reentrant=self.use_reentrant)
        return src


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("backward_inside", [False, True])
def test_checkpointed_torch_encoder_is_captured_once_per_layer(use_reentrant, backward_inside):
    encoder, inputs = (
        ZOO["TransformerEncoder, post-norm"].build(),
        ZOO["TransformerEncoder, post-norm"].inputs(),
    )
    tokens = inputs["src"].requires_grad_()
    wrapped = Checkpointed(encoder, use_reentrant=use_reentrant)
    with clsight.Recorder(wrapped) as recorder:
        loss = wrapped(tokens).square().mean()
        if backward_inside:
            loss.backward()
    if not backward_inside:
        loss.backward()
    assert list(recorder.record.layer_name.values) == ["encoder.layers.0", "encoder.layers.1"]
    assert largest_error(recorder.record, encoder, inputs) <= 1e-5
    gradient, tokens.grad = tokens.grad, None
    encoder(tokens).square().mean().backward()
    torch.testing.assert_close(gradient, tokens.grad, rtol=1e-5, atol=1e-8)


ADAPTED = [["query", "value"], ["attention.output.dense"], ["query", "key", "value", "dense"]]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("target", ADAPTED, ids="+".join)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_count_in_the_weights_and_in_the_projection(attention, target):
    import peft

    torch.manual_seed(7)
    config = peft.LoraConfig(target_modules=target, r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(bert(attention), config).eval()
    record = check_capture(adapted, copy.deepcopy(adapted), "base_model.model.")
    merged = copy.deepcopy(adapted).merge_and_unload()
    of_merged = clsight.capture(merged, words())
    np.testing.assert_allclose(record.attends_to, of_merged.attends_to, atol=1e-5)
    np.testing.assert_allclose(
        record.value_norm, of_merged.value_norm, rtol=1e-4
    )  # norms from q·Gram·q in float32
    of_base = clsight.capture(bert(attention), words())
    assert float(abs(of_base.value_norm - record.value_norm).max()) > 0.01
