"""What a capture keeps while it runs, and what it leaves behind: nothing."""

import gc
import weakref

import pytest
import torch
from torch import nn

import clsight
from clsight.hooks.cls_view import view_cls
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.shelf import Shelf


def encoder():
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.bool])
def test_shelf_keeps_copies_that_do_not_overlap(dtype):
    shelf = Shelf()
    tensors = [torch.randn(3, size, 5).to(dtype).transpose(0, 1) for size in (1, 7, 2)]
    before = [tensor.clone() for tensor in tensors]
    kept = [shelf.keep(tensor) for tensor in tensors]
    for tensor in tensors:
        tensor.zero_()
    assert all(torch.equal(one, other) for one, other in zip(kept, before, strict=True))


def test_shelf_keeps_what_is_larger_than_a_piece():
    shelf = Shelf()
    small, large = torch.ones(3), torch.randn(2**21)
    assert torch.equal(shelf.keep(small), small)
    assert torch.equal(shelf.keep(large), large)
    assert torch.equal(shelf.keep(small), small)


def test_view_on_a_shelf_does_not_hold_the_queries_of_all_tokens():
    query, key, value = (torch.randn(1, 2, 50, 4) for _ in range(3))
    output = nn.functional.scaled_dot_product_attention(query, key, value)
    call = AttentionCall(query, key, value, output, scale=0.5)
    view = view_cls(call, Position(torch.zeros(1, dtype=torch.int64))).on(Shelf())
    storages = {tensor.untyped_storage().data_ptr() for tensor in (query, key, value, output)}
    kept = [tensor for tensor in vars(view).values() if isinstance(tensor, torch.Tensor)]
    assert len(kept) == 8
    assert not any(tensor.untyped_storage().data_ptr() in storages for tensor in kept)


def test_capture_leaves_no_cycle_that_holds_the_model_or_the_record():
    clsight.capture(encoder(), torch.randn(2, 5, 12))  # what the first call imports may hold its frames
    gc.collect()
    gc.disable()
    try:
        module, inputs = encoder(), torch.randn(2, 5, 12)
        record = clsight.capture(module, inputs)
        with clsight.Recorder(module) as recorder:
            module(inputs)
        left = [weakref.ref(thing) for thing in (module, inputs, record, recorder)]
        del module, inputs, record, recorder
        assert [reference() for reference in left] == [None] * 4
    finally:
        gc.enable()
