"""TensorBoard gets what the training told, and the means of each layer."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import clsight
from clsight.errors import CheckpointError
from clsight.tracking import Tracker, TrackingWarning, open_training
from tracked_trainings import new_classifier, probe_inputs, trained


def series(path, name):
    """Return the steps and values of a scalar in TensorBoard's files."""
    events = EventAccumulator(str(path / "tensorboard")).Reload().Scalars(name)
    return [event.step for event in events], [event.value for event in events]


def test_scalars_are_those_of_the_record(tmp_path):
    model = new_classifier()
    with Tracker(model, probe_inputs(), every=2, path=tmp_path, tensorboard=True) as tracker:
        trained(model, 5, lambda loss: tracker.step(loss=loss))
    training = open_training(tmp_path)
    steps, losses = series(tmp_path, "loss")
    assert steps == [2, 4, 5]
    np.testing.assert_allclose(losses, training["loss"].values[1:], rtol=1e-6)
    means = clsight.analysis.entropy(training).mean(["sample", "head"])
    for layer, name in enumerate(training["layer_name"].values):
        steps, entropies = series(tmp_path, f"CLS entropy/{name}")
        assert steps == [0, 2, 4, 5]
        np.testing.assert_allclose(entropies, means.isel(layer=layer), rtol=1e-3)  # half precision


def test_interrupted_training_that_goes_on_shows_once(tmp_path):
    for resume_at in (None, 2):
        options = {"every": 2, "path": tmp_path, "tensorboard": True, "resume_at": resume_at}
        with Tracker(new_classifier(), probe_inputs(), **options) as tracker:
            for _ in range(4):
                tracker.step(loss=1.0)
    assert series(tmp_path, "loss")[0] == [2, 4, 6]


def test_tensorboard_that_cannot_be_written_stops_and_the_record_goes_on(tmp_path, monkeypatch):
    """As on a full disk: the one thing that is replaced here is what the operating system answers."""
    tracker = Tracker(new_classifier(), probe_inputs(), every=1, path=tmp_path, tensorboard=True)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker._board._writer, "flush", refuse)
    told = r"^TensorBoard gets no scalars from step 1 on: \[Errno 28\] No space left on device$"
    with pytest.warns(TrackingWarning, match=told):
        tracker.step(loss=1.0)
    tracker.step(loss=0.5)
    tracker.close()
    np.testing.assert_array_equal(open_training(tmp_path)["loss"], [np.nan, 1.0, 0.5])


def test_tensorboard_is_left_out_where_not_wanted(tmp_path):
    Tracker(new_classifier(), probe_inputs(), path=tmp_path, tensorboard=False).close()
    assert not (tmp_path / "tensorboard").exists()


def test_missing_tensorboard_is_told_where_it_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(CheckpointError, match=r"pip install 'clsight\[tensorboard\]'"):
        Tracker(new_classifier(), probe_inputs(), path=tmp_path, tensorboard=True)
