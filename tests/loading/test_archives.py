"""Members are found where torch and zipfile find them, in archives that say one thing only."""

import io
import zipfile

import pytest
import torch

from clsight.loading.archives import members
from clsight.loading.refusals import RefusedError
from clsight.loading.tensor_files import read_tensors
from hostile_containers import lying_archives
from torch_archives import saved, weights, zipped


def content_of(data):
    found = members(bytearray(data))
    return {name: data[member.start : member.start + member.size] for name, member in found.items()}


@pytest.mark.parametrize("data", [saved(weights()), zipped({"data.pkl": b"N.", "data/0": b"", "ä": b"3"})])
def test_members_are_those_that_zipfile_finds(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        expected = {entry.split("/", 1)[1]: archive.read(entry) for entry in archive.namelist()}
    assert content_of(data) == expected


def test_members_of_a_streamed_archive_are_found():
    class OneWay(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise OSError("one way")

    stream = OneWay()
    with zipfile.ZipFile(stream, "w") as made:  # sizes follow their member, as in torch's own archives
        for name in ("first", "second"):
            with made.open(f"x/{name}", "w", force_zip64=True) as member:
                member.write(name.encode())
    assert content_of(stream.getvalue()) == {"first": b"first", "second": b"second"}


@pytest.mark.parametrize("name", ["my model (1)", "2026-01-02T10:30:00", "größe", "epoch=3-step=10", "模型"])
def test_archive_named_after_its_file_is_read(tmp_path, name):
    torch.save({"w": torch.ones(2)}, tmp_path / f"{name}.pt")
    assert read_tensors(tmp_path / f"{name}.pt").tensors["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "deflated",
            "members that are stored as they are, but got one that is compressed: 'archive/data.pkl'",
        ),
        ("one name twice", "one member per name, but got 'archive/data.pkl' twice"),
        ("parent inside", "member names that stay inside, but got 'archive/../../x'"),
        ("bytes behind", "an archive that ends with its directory, but got another end"),
        (
            "checksum in the header",
            "member 'archive/data.pkl' as the directory says, but got another size or place",
        ),
        ("count more", "5 entries in the directory, but got fewer"),
        (
            "directory shorter",
            "a directory that fills the end of the archive, but got one that says otherwise",
        ),
        ("64-bit count", "directories that agree, but got a 64-bit one that says otherwise"),
    ],
)
def test_archive_that_lies_is_told(name, message):
    with pytest.raises(RefusedError) as caught:
        members(bytearray(lying_archives()[name]))
    assert message in str(caught.value)


def test_damaged_numbers_are_told_by_their_member():
    data = bytearray(saved({"w": torch.full((3,), 0.5)}))
    data[data.index(torch.full((3,), 0.5).numpy().tobytes()) + 1] ^= 1
    with pytest.raises(
        RefusedError, match="member 'archive/data/0' as it was saved, but got another checksum"
    ):
        members(data)
