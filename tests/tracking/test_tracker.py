"""A tracked training ends as an untracked one, and its record holds what a capture at each step would."""

import shutil

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import clsight
from clsight.errors import CaptureError, RecordError, TrackingError
from clsight.hooks.random_streams import undisturbed
from clsight.tracking import Tracker, TrackingWarning, open_training
from clsight.tracking.pieces import piece_path
from tracked_trainings import everything, new_classifier, probe_inputs, trained


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training"


def tracked(path, *, steps=7, every=3, seed=0, **options):
    """Train with a tracker, and return the model and its record."""
    model = new_classifier(seed)
    with Tracker(model, probe_inputs(), every=every, path=path, **options) as tracker:
        trained(model, steps, lambda loss: tracker.step(loss=loss))
    return model, open_training(path)


def captured(model, **options):
    """Return what a capture sees with the draws that the tracker's look begins with."""
    with undisturbed(model, 0):
        return clsight.capture(model, probe_inputs(), keep=(), **options)


# --- the training is not disturbed ---


@pytest.mark.parametrize("keep", [(), ("hidden", "gradient")])
def test_training_ends_bit_for_bit_as_without_a_tracker(path, keep):
    expected = everything(trained(new_classifier(), 7))
    model, training = tracked(path, every=1, keep=keep)
    assert training.sizes["step"] == 8
    assert everything(model) == expected


def test_comparison_of_trainings_fails_after_a_plain_look():
    expected = everything(trained(new_classifier(), 7))
    model = new_classifier()
    trained(model, 7, lambda loss: clsight.capture(model, probe_inputs()))
    found = everything(model)
    assert {name for name in found if found[name] != expected[name]} >= {"values", "calls", "streams"}


def test_training_goes_on_undisturbed_where_a_look_fails(path):
    expected = everything(trained(new_classifier(), 4))
    model = new_classifier()
    encoder = model.encoder
    tracker = Tracker(model, probe_inputs(), every=1, path=path)

    def step_without_attention(loss):
        model.encoder = nn.Identity()
        with pytest.warns(TrackingWarning, match="has no maps in the training record"):
            tracker.step()
        model.encoder = encoder

    trained(model, 4, step_without_attention)
    assert everything(model) == expected


def test_autocast_of_the_training_gets_no_casts_from_the_look(path):
    """Torch before 2.13 kept casts made without gradients for the training; the cache must be off."""
    model = new_classifier()
    tracker = Tracker(model, probe_inputs(), every=1, path=path)
    seen = []

    def note(*_):
        seen.append((torch.is_autocast_cache_enabled(), torch.get_autocast_dtype("cpu")))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        with model.register_forward_hook(note):
            tracker.step()
        assert torch.is_autocast_cache_enabled()
        model(probe_inputs()).sum().backward()
    assert seen == [(False, torch.bfloat16)]
    assert all(parameter.grad is not None for parameter in model.parameters())
    tracker.close()


def test_inputs_of_the_user_may_change_afterwards(path):
    inputs = probe_inputs()
    tracker = Tracker(new_classifier(), inputs, every=1, path=path)
    inputs.zero_()
    tracker.step()
    tracker.close()
    training = open_training(path)
    np.testing.assert_array_equal(training["attends_to"].sel(step=0), training["attends_to"].sel(step=1))


# --- what the record holds ---


def test_record_holds_what_a_capture_at_each_step_sees(path):
    _, training = tracked(path)
    again = new_classifier()
    seen = {0: captured(again)}
    trained(again, 7, lambda loss: seen.setdefault(len(seen), captured(again)))
    expected = clsight.stack({step: seen[step] for step in (0, 3, 6, 7)}, dim="step")
    assert training["step"].values.tolist() == [0, 3, 6, 7]
    for name in ("attends_to", "attended_by", "logits", "attention_error"):
        assert training[name].dims == expected[name].dims
    half = 2**-11  # the rounding of half precision, relative; weights here are all above its smallest
    np.testing.assert_allclose(training["attends_to"], expected["attends_to"], rtol=half)
    np.testing.assert_allclose(training["attended_by"], expected["attended_by"], rtol=half)
    np.testing.assert_array_equal(training["logits"], expected["logits"])
    for name in ("token_text", "token_kind", "token_mask", "layer_name"):
        np.testing.assert_array_equal(training[name], expected[name])
    clsight.records.check(training)


def test_record_changes_from_step_to_step(path):
    _, training = tracked(path)
    moved = abs(training["attends_to"].diff("step")).max(["sample", "layer", "head", "token"])
    assert float(moved.min()) > 1e-3


def test_measures_and_saving_take_a_training_record(path, tmp_path):
    _, training = tracked(path)
    assert clsight.analysis.entropy(training).dims == ("step", "sample", "layer", "head")
    saved = clsight.save_record(training, tmp_path / "training.zarr.zip")
    np.testing.assert_array_equal(clsight.open_record(saved)["loss"], training["loss"])


def test_subject_tells_what_its_tokens_are(path):
    subject = clsight.load("sample_models/digits-learned")
    Tracker(subject, subject.examples[:2], path=path).close()
    training = open_training(path)
    assert training["token_text"].values[0, 1] == "patch 0,0"
    assert training["label"].dims == ("sample",)
    assert training.attrs["model"] == subject.name


# --- scalars ---


def test_scalars_are_those_of_the_tracked_step(path):
    losses = [np.nan]
    model = new_classifier()
    with Tracker(model, probe_inputs(), every=2, path=path) as tracker:

        def after(loss):
            losses.append(loss.item())
            tracker.step(loss=loss, rate=tracker.steps / 10)

        trained(model, 5, after)
    training = open_training(path)
    np.testing.assert_allclose(training["loss"], [losses[step] for step in (0, 2, 4, 5)], rtol=1e-7)
    np.testing.assert_allclose(training["rate"], [np.nan, 0.1, 0.3, 0.4])


def test_scalar_told_between_tracked_steps_goes_with_the_next_one(path):
    model = new_classifier()
    with Tracker(model, probe_inputs(), every=2, path=path) as tracker:
        for step in range(1, 7):
            tracker.step(**({"accuracy": 0.5} if step == 3 else {}))
    np.testing.assert_array_equal(open_training(path)["accuracy"], [np.nan, np.nan, 0.5, np.nan])


def test_scalar_tensor_that_changes_in_place_afterwards_counts_as_it_was(path):
    tracker = Tracker(new_classifier(), probe_inputs(), every=2, path=path)
    total = torch.tensor(3.0, requires_grad=True)
    tracker.step(total=total)
    with torch.no_grad():
        total.zero_()
    tracker.step()
    tracker.close()
    assert float(open_training(path)["total"].sel(step=2)) == 3.0


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (
            {"layer": 1.0},
            "`layer`: expected a name that a record does not have already, but got one that it has. "
            "Call it otherwise, such as `layer_told`.",
        ),
        (
            {"val/loss": 1.0},
            "`val/loss`: expected a name of letters, digits and _, but got 'val/loss'. Call it `val_loss`.",
        ),
        (
            {"loss": torch.zeros(2)},
            "`loss`: expected one number, but got a tensor of shape (2,). "
            "Pass a number, such as loss.mean().",
        ),
        (
            {"loss": "low"},
            "`loss`: expected one number, but got 'low'. Pass a number, such as loss.mean().",
        ),
        (
            {"loss": np.zeros(2)},
            "`loss`: expected one number, but got array([0., 0.]). Pass a number, such as loss.mean().",
        ),
    ],
)
def test_scalar_that_is_none_is_refused(path, scalars, message):
    tracker = Tracker(new_classifier(), probe_inputs(), path=path)
    with pytest.raises(TrackingError) as raised:
        tracker.step(**scalars)
    assert str(raised.value) == message


# --- a step that fails ---


def test_diverged_step_is_told_and_the_others_stay(path):
    model = new_classifier()
    with Tracker(model, probe_inputs(), every=1, path=path) as tracker:
        tracker.step(loss=0.5)
        with torch.no_grad():
            model.embed.weight.fill_(torch.nan)
        with pytest.warns(TrackingWarning, match="^Step 2 has no maps in the training record"):
            tracker.step(loss=float("nan"))
    training = open_training(path)
    assert training["step"].values.tolist() == [0, 1]
    assert any(note.startswith("Step 2 has no maps (loss nan): `") for note in training.attrs["notes"])


def test_disk_that_refuses_does_not_stop_the_training(path):
    tracker = Tracker(new_classifier(), probe_inputs(), every=1, path=path)
    shutil.rmtree(path)
    path.write_text("no folder any more")
    with pytest.warns(TrackingWarning, match="expected a place that can be written"):
        tracker.step()


def test_loop_that_raises_leaves_the_record_as_it_was(path):
    def loop():
        with Tracker(new_classifier(), probe_inputs(), path=path) as tracker:
            tracker.step()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert open_training(path)["step"].values.tolist() == [0]


# --- beginning and going on ---


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_every_must_be_a_number_of_steps(path, every):
    with pytest.raises(TrackingError) as raised:
        Tracker(new_classifier(), probe_inputs(), every=every, path=path)
    assert str(raised.value) == (
        f"`every`: expected a whole number of steps, 1 or more, but got {every!r}. "
        "Use every=100, or less for a short training."
    )


def test_inputs_that_do_not_fit_fail_before_the_training(path):
    with pytest.raises(CaptureError):
        Tracker(new_classifier(), torch.zeros(2, 5, 7), path=path)
    assert not path.exists()


def test_second_training_in_one_folder_is_refused(path):
    tracked(path)
    with pytest.raises(TrackingError) as raised:
        Tracker(new_classifier(), probe_inputs(), path=path)
    assert str(raised.value) == (
        f"`{path}`: expected a folder without a training record, but got one with 4 steps. Choose another "
        "path; or, where that training goes on, pass resume_at=, the number of steps that its checkpoint has "
        "behind it."
    )


def test_training_killed_before_its_first_step_leaves_its_folder_to_the_next(path):
    Tracker(new_classifier(), probe_inputs(), path=path).close()
    piece_path(path, 0).unlink()
    Tracker(new_classifier(seed=4), probe_inputs(2), path=path).close()
    training = open_training(path)
    assert training["step"].values.tolist() == [0]
    assert training.sizes["sample"] == 2


def test_folder_is_called_training_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Tracker(new_classifier(), probe_inputs(), every=10).close()
    assert open_training(tmp_path / "training").sizes["step"] == 1


@pytest.fixture
def process_group(tmp_path):
    """Make this process a distributed training of its own."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_module_that_is_sharded_over_processes_is_refused(path):
    model = fully_shard(new_classifier(), mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(TrackingError) as raised:
        Tracker(model, probe_inputs(), path=path)
    assert str(raised.value).endswith(
        "Classifier`: expected a module whose weights are whole in one process, but got one that is sharded "
        "over processes. Train with DistributedDataParallel, or capture its saved checkpoints afterwards."
    )
    assert not path.exists()


@pytest.mark.usefixtures("process_group")
def test_module_that_is_trained_in_several_processes_is_looked_at_in_one(path):
    model = new_classifier()
    Tracker(DistributedDataParallel(model), probe_inputs(), path=path).close()
    assert open_training(path).attrs["model"] == "Classifier"


def test_file_in_the_place_of_the_folder_is_refused(path):
    path.write_text("")
    with pytest.raises(TrackingError, match="expected a folder, or a free name, but got a file"):
        Tracker(new_classifier(), probe_inputs(), path=path)


def test_resumed_training_replaces_what_came_after_its_checkpoint(path):
    _, before = tracked(path)
    model = new_classifier(seed=9)
    with Tracker(model, probe_inputs(), every=3, path=path, resume_at=3) as tracker:
        assert tracker.steps == 3
        trained(model, 4, lambda loss: tracker.step())
    after = open_training(path)
    assert after["step"].values.tolist() == [0, 3, 6, 7]
    kept = (abs(after["attends_to"] - before["attends_to"]) == 0).all(["sample", "layer", "head", "token"])
    assert kept.values.tolist() == [True, True, False, False]


def test_resumed_training_may_begin_a_record(path):
    Tracker(new_classifier(), probe_inputs(), path=path, resume_at=40).close()
    assert open_training(path)["step"].values.tolist() == [40]


def test_resumed_training_of_other_inputs_is_refused(path):
    tracked(path)
    with pytest.raises(RecordError, match=r"records of the same inputs, with equal `sample`"):
        Tracker(new_classifier(), probe_inputs(3), path=path, resume_at=3)


def test_close_twice_records_once(path):
    tracker = Tracker(new_classifier(), probe_inputs(), path=path)
    tracker.step()
    tracker.close()
    tracker.close()
    assert open_training(path)["step"].values.tolist() == [0, 1]


def test_untracked_steps_run_no_forward_pass(path):
    model = new_classifier()
    tracker = Tracker(model, probe_inputs(), every=100, path=path)
    passes = []
    with model.register_forward_hook(lambda *_: passes.append(1)):
        for _ in range(99):
            tracker.step()
        assert passes == []
        tracker.step()
    assert passes == [1]
