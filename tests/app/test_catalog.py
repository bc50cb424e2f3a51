"""The catalog over real models: names, records that stay, peers, examples that are missing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import clsight
from clsight.errors import AppError, CheckpointError
from clsight_app.catalog import REMEMBERED_BYTES, Catalog, subject_size


def test_names_are_the_last_parts_and_distinct():
    paths = [Path("/a/digits"), Path("/b/digits"), Path("/b/other"), Path("/c/digits")]
    assert Catalog(paths).models == ("digits", "digits (2)", "other", "digits (3)")


def test_catalog_refuses_to_be_empty():
    with pytest.raises(AppError, match="`models`: expected at least one model, but got none"):
        Catalog([])


def test_load_all_tells_a_missing_model(tmp_path):
    with pytest.raises(CheckpointError, match="no-such-model"):
        Catalog([tmp_path / "no-such-model"]).load_all()


def test_record_is_the_capture_of_that_example(catalog):
    subject = clsight.load(clsight.sample_models_dir() / "digits-zeros")
    expected = clsight.capture(subject, subject.examples[7])
    record = catalog.record("digits-zeros", 7)
    np.testing.assert_array_equal(record["attends_to"], expected["attends_to"])
    assert record.sizes["sample"] == 1


def test_record_stays_the_same_when_cls_is_redrawn_at_each_forward(sample_paths):
    catalog, other = Catalog(sample_paths), Catalog(sample_paths)
    model = "digits-random-per-forward"
    first = catalog.record(model, 0)
    richer = catalog.record(model, 0, keep=["hidden", "received"])
    assert "hidden" in richer
    other.record(model, 1)
    for again in (richer, other.record(model, 0)):
        np.testing.assert_array_equal(again["attends_to"], first["attends_to"])
    drawn = [catalog.record(model, sample, ["hidden"])["hidden"].values[0, 0] for sample in (0, 1)]
    assert not np.array_equal(*drawn)  # each example has a draw of its own


def test_record_is_captured_once_when_many_threads_ask(sample_paths):
    catalog = Catalog(sample_paths)
    asked = [("digits-learned", sample) for sample in (0, 1, 2)] * 4
    with ThreadPoolExecutor(8) as threads:
        records = list(threads.map(lambda key: catalog.record(*key), asked))
    assert len({id(record) for record in records}) == 3


def test_catalog_forgets_records_beyond_its_bound(sample_paths):
    size = Catalog(sample_paths).record("digits-learned", 0).nbytes
    catalog = Catalog(sample_paths, record_bytes=2 * size)
    first = catalog.record("digits-learned", 0)
    for sample in (1, 2):
        catalog.record("digits-learned", sample)
    assert catalog.record("digits-learned", 0) is not first


def test_subject_size_counts_weights_and_examples(catalog):
    subject = catalog.subject("digits-learned")
    weights = sum(tensor.numel() for tensor in subject.module.state_dict().values()) * 4
    assert subject_size(subject) == weights + 20 * 8 * 8 * 4


def test_peers_share_their_examples(catalog):
    assert catalog.peers("digits-zeros") == catalog.models


def test_peers_leave_out_a_model_with_other_examples(sample_paths, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(sample_paths[0], bare, ignore=shutil.ignore_patterns("examples*"))
    catalog = Catalog([sample_paths[0], bare])
    assert catalog.peers("digits-learned") == ("digits-learned",)
    with pytest.raises(AppError, match="`bare`: expected a model with examples, but got none"):
        catalog.examples("bare")


def test_image_is_the_example_itself(catalog):
    image = catalog.image("digits-learned", 3)
    np.testing.assert_array_equal(image, catalog.examples("digits-learned").inputs[3])


def test_remembered_is_made_once_for_a_key(catalog):
    assert catalog.remembered("sentence", lambda: ["one"]) == ["one"]
    assert catalog.remembered("sentence", lambda: ["two"]) == ["one"]


def test_remembered_is_bounded_in_bytes(catalog):
    wide = np.zeros(REMEMBERED_BYTES // 8 - 8)
    catalog.remembered("wide", lambda: wide)
    catalog.remembered("wider", lambda: wide + 1)
    assert catalog.remembered("wide", lambda: "made again") == "made again"
