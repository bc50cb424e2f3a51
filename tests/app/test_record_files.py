"""Record files below the roots: found, bounded, and nothing outside of them."""

import zipfile

import numpy as np
import pytest

import clsight
from clsight.errors import AppError, RecordError
from clsight_app import record_files
from clsight_app.record_files import RecordFiles, size_of
from hand_made import word_record


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "inner <b>").mkdir(parents=True)
    clsight.save_record(word_record(samples=4).record, tmp_path / "root" / "inner <b>" / "a.zarr.zip")
    clsight.save_record(word_record().record, tmp_path / "secret.zarr.zip")
    (tmp_path / "root" / "link.zarr.zip").symlink_to(tmp_path / "secret.zarr.zip")
    return tmp_path / "root"


def test_names_are_the_files_below_and_no_links_out(root):
    assert RecordFiles([root]).names() == ("inner <b>/a.zarr.zip",)
    assert RecordFiles().names() == ()


def test_record_is_that_of_the_file(root):
    record = RecordFiles([root]).opened("inner <b>/a.zarr.zip")
    np.testing.assert_array_equal(record["attends_to"], word_record(samples=4).record["attends_to"])
    assert size_of(root / "inner <b>/a.zarr.zip")[0] == 4


@pytest.mark.parametrize(
    "name", ["../secret.zarr.zip", "link.zarr.zip", "no.zarr.zip", "inner <b>", "/etc/passwd"]
)
def test_nothing_outside_is_opened(root, name):
    with pytest.raises(
        AppError, match=r"expected a record file below a root, but got .*Choose one from the list"
    ):
        RecordFiles([root]).opened(name)


def test_file_that_is_too_large_is_not_read(root, monkeypatch):
    monkeypatch.setattr(record_files, "MOST_SAMPLES", 3)
    monkeypatch.setattr(clsight, "open_record", None)
    with pytest.raises(AppError, match=r"expected at most 3 samples, but got 4\. Save a part of it"):
        RecordFiles([root]).opened("inner <b>/a.zarr.zip")
    monkeypatch.setattr(record_files, "MOST_SAMPLES", 10)
    monkeypatch.setattr(record_files, "MOST_BYTES", 100)
    with pytest.raises(AppError, match="expected at most 100 bytes"):
        RecordFiles([root]).opened("inner <b>/a.zarr.zip")


def test_file_of_another_kind_and_a_stack_are_refused(root):
    (root / "broken.zarr.zip").write_bytes(b"no zip")
    with pytest.raises(RecordError, match="expected a record file, but got a file of another kind"):
        RecordFiles([root]).opened("broken.zarr.zip")
    with zipfile.ZipFile(root / "other.zarr.zip", "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(RecordError, match=r"expected a record file, but got .*Choose another"):
        RecordFiles([root]).opened("other.zarr.zip")
    one = word_record().record
    clsight.save_record(clsight.stack({"learned": one, "zeros": one}), root / "two.zarr.zip")
    with pytest.raises(
        AppError, match="expected a record of one model, but got one with several along strategy"
    ):
        RecordFiles([root]).opened("two.zarr.zip")
