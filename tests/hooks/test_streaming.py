"""`clsight.capture_batches` over a loader: one record at a time, nothing held."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import clsight


def encoder():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_each_batch_is_captured_as_alone():
    model = encoder()
    batches = [torch.randn(samples, 5, 8) for samples in (2, 4, 1)]
    records = list(clsight.capture_batches(model, batches, cls_index=1, keep="rollout", progress=False))
    for batch, record in zip(batches, records, strict=True):
        assert record.identical(clsight.capture(model, batch, cls_index=1, keep="rollout"))
    joined = clsight.concat(records)
    np.testing.assert_array_equal(joined.attends_to[2:6], records[1].attends_to)


def test_subjects_take_raw_examples():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    batches = [subject.examples[start : start + 5] for start in range(0, 15, 5)]
    records = list(clsight.capture_batches(subject, batches, progress=False))
    np.testing.assert_array_equal(clsight.concat(records)["label"], subject.examples.labels[:15])


def test_batches_are_read_one_at_a_time_and_let_go():
    drawn = []

    def batches():
        for _ in range(3):
            batch = torch.randn(2, 5, 8)
            drawn.append(weakref.ref(batch))
            yield batch
            del batch

    records = clsight.capture_batches(encoder(), batches(), progress=False)
    next(records)
    assert len(drawn) == 1
    next(records)
    gc.collect()
    assert len(drawn) == 2
    assert drawn[0]() is None


@pytest.mark.parametrize("progress", [True, False])
def test_progress_goes_to_the_error_stream_if_wanted(progress, capsys):
    list(clsight.capture_batches(encoder(), [torch.randn(2, 5, 8)], progress=progress))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("capture: " in shown.err) == progress


def test_failing_batch_raises_and_leaves_the_model_clean():
    model = encoder()
    records = clsight.capture_batches(model, [torch.randn(2, 5, 8), torch.randn(2, 5, 7)], progress=False)
    next(records)
    with pytest.raises(clsight.CaptureError, match=r"expected a forward pass that runs"):
        next(records)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_position_and_mask_may_differ_from_batch_to_batch():
    model, lengths = encoder(), [torch.tensor([3, 5]), torch.tensor([4, 2, 5])]
    batches = [(torch.randn(len(length), 5, 8), length) for length in lengths]

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = model

        def forward(self, x, length):
            return self.encoder(x, src_key_padding_mask=torch.arange(5) >= length[:, None])

    records = list(
        clsight.capture_batches(
            Wrapped(),
            batches,
            cls_index=lambda batch: batch[1] - 1,
            token_mask=lambda batch: torch.arange(5) < batch[1][:, None],
            progress=False,
        )
    )
    for record, length in zip(records, lengths, strict=True):
        assert record.cls_position.values.tolist() == (length - 1).tolist()
        np.testing.assert_array_equal(record.token_mask.sum("token"), length)
