"""A training record opens up to its last whole step, whatever happened to the process that wrote it."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from clsight.errors import RecordError
from clsight.records import save_record, stack
from clsight.study.packing import RECORD_FILE
from clsight.tracking import open_training
from clsight.tracking.pieces import piece_path
from clsight.tracking.training_folder import add_step, drop_steps_after, piece_of, start_training
from hand_made import word_record

WRITER = """
import sys
from pathlib import Path
from clsight.records import open_record
from clsight.tracking.training_folder import INPUTS, add_step, piece_of
folder = Path(sys.argv[1])
first = open_record(folder / INPUTS)
piece = piece_of(first, first, {"loss": 0.25})
step = 1
print("writing", flush=True)
while True:
    add_step(folder, step, piece)
    step += 1
"""

LOOP = """
import sys
import torch
from clsight.tracking import Tracker
from tracked_trainings import new_classifier, probe_inputs, trained
tracker = Tracker(new_classifier(), probe_inputs(), every=1, path=sys.argv[1])
print("writing", flush=True)
trained(tracker._probe.module, 100_000, lambda loss: tracker.step(loss=loss))
"""

LOADED = """
import json, sys
from clsight.tracking import open_training
open_training(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three steps of hand-made records; each step has other weights."""
    path = tmp_path / "training"
    first = record_at(0)
    start_training(path, first)
    for step in (0, 100, 2000):
        add_step(path, step, piece_of(record_at(step), first, {"loss": step / 8}))
    return path


def record_at(step):
    return word_record(seed=step + 1).record


def killed_while_writing(code, path, seconds):
    """Run code that prints when it begins to write, and kill it after that many seconds more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)


def test_training_is_the_stack_of_its_records(folder):
    training = open_training(folder)
    expected = stack({step: record_at(step) for step in (0, 100, 2000)}, dim="step")
    assert training["step"].values.tolist() == [0, 100, 2000]
    assert set(training.variables) == {*expected.variables, "loss"}
    for name in set(expected.variables) - {"attends_to", "attended_by"}:
        np.testing.assert_array_equal(training[name], expected[name])
        assert training[name].dims == expected[name].dims
    for name in ("attends_to", "attended_by"):
        np.testing.assert_allclose(training[name], expected[name], rtol=2**-11, atol=2**-25)
        assert training[name].dtype == np.float32
    np.testing.assert_array_equal(training["loss"], [0, 12.5, 250])


@pytest.mark.slow
def test_training_killed_while_it_writes_opens_up_to_its_last_whole_step(folder):
    generator = random.Random(5)
    for _ in range(4):
        drop_steps_after(folder, 0)
        killed_while_writing(WRITER, folder, generator.uniform(0.02, 0.2))
        training = open_training(folder)
        assert training.sizes["step"] > 3
        assert training["step"].values.tolist() == list(range(training.sizes["step"]))
        assert (training["loss"].values[1:] == 0.25).all()
        whole = training["attends_to"].isel(step=slice(1, None))
        assert bool((whole == whole.isel(step=0)).all())


@pytest.mark.slow
def test_training_loop_killed_at_any_moment_opens_up_to_its_last_whole_step(tmp_path):
    killed_while_writing(LOOP, tmp_path / "training", 0.7)
    training = open_training(tmp_path / "training")
    assert training["step"].values.tolist() == list(range(training.sizes["step"]))
    assert training.sizes["step"] > 3


def test_piece_that_a_killed_process_did_not_finish_counts_for_nothing(folder):
    whole = piece_path(folder, 100).read_bytes()
    (folder / ".part-abc").write_bytes(whole[: len(whole) // 2])
    assert open_training(folder)["step"].values.tolist() == [0, 100, 2000]
    drop_steps_after(folder, 100)
    assert sorted(path.name for path in folder.iterdir()) == [
        "inputs.zarr.zip",
        "step-000000000.npz",
        "step-000000100.npz",
    ]


@pytest.mark.parametrize("cut", [0, 10, 700, -1])
def test_piece_cut_short_is_told(folder, cut):
    path = piece_path(folder, 100)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RecordError) as raised:
        open_training(folder)
    assert str(raised.value).startswith(f"`{path}`: expected one whole step of a training, but got ")
    assert str(raised.value).endswith("Remove or copy again that one file: each other step is whole.")


def test_flipped_bits_are_told(folder):
    path = piece_path(folder, 100)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(RecordError, match="Bad CRC-32"):
        open_training(folder)


def test_piece_of_another_model_is_told(folder):
    other = word_record(layers=2).record
    add_step(folder, 300, piece_of(other, other, {}))
    with pytest.raises(RecordError, match=r"of \(2, 2, 4, 9\), where the first step has \(2, 3, 4, 9\)"):
        open_training(folder)


def test_piece_with_a_pickle_is_told_and_not_run(folder):
    with piece_path(folder, 100).open("wb") as file:
        np.savez(file, attends_to=np.array([print], dtype=object), about=np.zeros(1, np.uint8))
    with pytest.raises(RecordError, match="Object arrays cannot be loaded"):
        open_training(folder)


def test_layers_that_change_are_refused_when_written():
    with pytest.raises(RecordError) as raised:
        piece_of(word_record(layers=2).record, word_record(layers=3).record, {})
    assert str(raised.value) == (
        "`training record`: expected the layers, heads and tokens of the first step, but got attends_to of "
        "(2, 2, 4, 9), where the first step has (2, 3, 4, 9). Track a model whose layers stay the same."
    )


def test_variable_that_one_step_lacks_is_left_out_with_its_reason(folder):
    first = record_at(0)
    lacking = record_at(5).drop_vars("value_norm")
    lacking.attrs["absent"] = {**first.attrs["absent"], "value_norm": "a gate stood between"}
    add_step(folder, 5, piece_of(lacking, first, {}))
    training = open_training(folder)
    assert "value_norm" not in training
    assert training.attrs["absent"]["value_norm"] == "a gate stood between"


def test_notes_tell_of_half_precision(folder):
    assert open_training(folder).attrs["notes"] == [
        "Made by hand.",
        "The weights of each step were stored in half precision: errors up to 0.05 %, of weights below "
        "0.00006 up to 0.00000003",
    ]


def test_run_of_a_study_opens_like_a_tracked_training(tmp_path):
    steps = stack({step: record_at(step) for step in (0, 10)}, dim="step")
    save_record(steps, tmp_path / RECORD_FILE)
    training = open_training(tmp_path)
    np.testing.assert_array_equal(training["attends_to"], steps["attends_to"])
    assert training["step"].values.tolist() == [0, 10]


def test_record_of_one_moment_is_no_training(tmp_path):
    save_record(record_at(0), tmp_path / RECORD_FILE)
    with pytest.raises(RecordError, match="but got a folder without it"):
        open_training(tmp_path)


def test_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(RecordError) as raised:
        open_training(tmp_path)
    assert str(raised.value) == (
        f"`{tmp_path}`: expected the folder of a training record, with 'inputs.zarr.zip' in it, but got a "
        "folder without it. Make one: clsight.tracking.Tracker(module, probe_inputs, path=...)."
    )
    with pytest.raises(RecordError, match="but got no folder of that name"):
        open_training(tmp_path / "absent")


def test_record_without_a_step_is_refused(tmp_path):
    start_training(tmp_path / "t", record_at(0))
    with pytest.raises(RecordError) as raised:
        open_training(tmp_path / "t")
    assert str(raised.value) == (
        f"`{tmp_path / 't'}`: expected at least one step of a training, but got none yet. "
        "Open it again after the first tracked step."
    )


def test_training_opens_without_torch(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LOADED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert not {"torch", "plotly", "dash", "transformers"} & set(json.loads(done.stdout))


def test_step_of_a_small_model_takes_a_few_kilobytes(tmp_path):
    """3 layers, 4 heads, 17 tokens, 4 samples, as the sample models: 816 weights a direction."""
    record = word_record(samples=4, words=tuple(f"w{i}" for i in range(17))).record
    kept = record.drop_vars(["query", "key", "value", "value_norm"])
    start_training(tmp_path, kept)
    add_step(tmp_path, 0, piece_of(kept, kept, {"loss": 1.0}))
    assert piece_path(tmp_path, 0).stat().st_size < 6000
