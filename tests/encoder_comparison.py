"""One encoder, captured and compared with dense attention: used by the tests and by the table in the docs."""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import clsight
from dense_attention import Dense, dense_attention
from encoder_zoo import ZOO


@dataclass
class Comparison:
    """What a capture found, beside dense float64 attention.

    Attributes:
        record: The capture.
        dense: The dense attention operations over the same number of tokens, in order.
        output: What the model returned while it was captured.
        row_error: Largest absolute error of the row, over samples, layers, heads and tokens.
        column_error: The same for the column, over tokens that are real and ask.
    """

    record: xr.Dataset
    dense: list[Dense]
    output: object
    row_error: float
    column_error: float


def compare(module, inputs, *, cls_index=0, within=None, reference=dense_attention):
    """Capture one forward pass of `module(**inputs)` and compare it with `reference(module, inputs)`."""
    with clsight.Recorder(module, cls_index=cls_index, within=within) as recorder, torch.no_grad():
        output = module(**inputs)
    record = recorder.record
    tokens = record.sizes["token"]
    dense = [found for found in reference(module, inputs) if found.weights.shape[-1] == tokens]
    assert len(dense) == record.sizes["layer"], [tuple(found.weights.shape) for found in dense]
    position = np.broadcast_to(cls_index, record.sizes["sample"]) % tokens
    errors = np.array([layer_errors(record.isel(layer=i), found, position) for i, found in enumerate(dense)])
    return Comparison(record, dense, output, *errors.max(axis=0))


def layer_errors(layer, dense, cls_index):
    """Return the largest absolute error of row and of column in one layer of a record."""
    weights = in_layout(dense.weights, layer).numpy()
    alone = weights.shape[2] == 1
    row_error = column_error = 0.0
    for sample, position in enumerate(cls_index):
        asking = [position] if alone else np.flatnonzero(layer.token_mask[sample])
        row = weights[sample, :, 0 if alone else position]
        column = weights[sample, :, 0 if alone else asking, position].reshape(len(asking), -1).T
        row_error = max(row_error, np.abs(layer.attends_to[sample].values - row).max())
        found = layer.attended_by[sample].values[:, asking]
        assert not np.isnan(found).any()
        column_error = max(column_error, np.abs(found - column).max())
    return row_error, column_error


def in_layout(matrix, record):
    """Return `[..., query, key]` with heads folded into the batch or not as `[sample, head, query, key]`."""
    return matrix.reshape(record.sizes["sample"], record.sizes["head"], *matrix.shape[-2:])


def compare_by_name(name):
    """Build and compare one encoder of the zoo in float32."""
    encoder = ZOO[name]
    return compare(encoder.build(), encoder.inputs(), cls_index=encoder.cls_index)
