"""From strings, paths and arrays to examples."""

import numpy as np
import pytest

from clsight.errors import ClsightError
from clsight.loading import Examples
from clsight.loading.raw_data import read_ids, read_pictures, read_series, read_text

TEXT = np.dtypes.StringDType()


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        ("one", (1,)),
        (["one", "two"], (2,)),
        (["one", "two", "three"], (3,)),
        (("one", "two"), (1, 2)),
        ([("one", "two"), ("three", "four"), ["five", "six"]], (3, 2)),
        (np.array(["one", "two"]), (2,)),
        (np.array([["one", "two"]], dtype=TEXT), (1, 2)),
    ],
)
def test_text_is_sentences_or_pairs(raw, shape):
    examples = read_text(raw)
    assert examples.inputs.shape == shape
    assert examples.inputs.dtype == TEXT
    assert examples.inputs.ravel()[0] == "one"


@pytest.mark.parametrize("raw", [[], 3, None, [1], ["one", ("two", "three")], np.zeros(3), b"one", {"a": 1}])
def test_what_is_no_text_is_refused(raw):
    with pytest.raises(ClsightError, match="sentences"):
        read_text(raw)


def test_the_message_for_mixed_text_says_what_is_mixed():
    with pytest.raises(ClsightError) as refusal:
        read_text(["one", ("two", "three")])
    assert str(refusal.value) == (
        "`sentences`: expected strings alone, or pairs of strings alone, but got a str and pairs. "
        "Change the input."
    )


def test_series_are_arrays_or_files(tmp_path):
    made = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "one.npy", made)
    (tmp_path / "one.csv").write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in made))
    (tmp_path / "bare.csv").write_text("\n".join(",".join(map(str, row)) for row in made) + "\n\n")
    for raw in (made, made[None], tmp_path / "one.npy", str(tmp_path / "one.csv"), tmp_path / "bare.csv"):
        np.testing.assert_array_equal(read_series(raw).inputs, made[None])
    several = read_series([made, tmp_path / "one.csv"]).inputs
    assert several.shape == (2, 4, 3)


@pytest.mark.parametrize(
    "raw", [[], 3, np.zeros(3), np.zeros((2, 3), dtype=bool), [np.zeros((2, 3)), np.zeros((3, 3))]]
)
def test_what_is_no_series_is_refused(raw):
    with pytest.raises(ClsightError, match="series"):
        read_series(raw)


@pytest.mark.parametrize("content", ["a,b\n1,x\n", "1,2\n3\n", "", "\0"])
def test_a_table_that_is_not_all_numbers_is_refused(tmp_path, content):
    file = tmp_path / "broken.csv"
    file.write_text(content)
    with pytest.raises(ClsightError):
        read_series(file)


def test_an_array_file_with_objects_is_not_unpickled(tmp_path):
    file = tmp_path / "objects.npy"
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ClsightError, match=r"numbers as \.npy, \.csv or \.txt"):
        read_series(file)


def test_pictures_of_one_size_are_stacked():
    gray, color = np.zeros((4, 5), dtype=np.uint8), np.full((4, 5, 3), 7, dtype=np.uint8)
    assert read_pictures([gray, color]).inputs.shape == (2, 4, 5, 3)
    with pytest.raises(ClsightError, match="one height and width"):
        read_pictures([gray, color[:3]])


def test_pictures_are_read_from_files(tmp_path):
    from PIL import Image

    made = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(made).save(tmp_path / "one.png")
    for raw in (tmp_path / "one.png", str(tmp_path / "one.png"), [tmp_path / "one.png"], made):
        np.testing.assert_array_equal(read_pictures(raw).inputs, made[None])


def test_a_file_that_is_no_picture_or_starts_a_program_is_refused(tmp_path):
    from PIL import Image

    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4, 5)).save(tmp_path / "one.eps")
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    for name in ("text.png", "one.eps", "large.png", "missing.png"):
        with pytest.raises(ClsightError, match="expected a picture"):
            read_pictures(tmp_path / name)


def test_text_may_be_flat_and_numbers_may_not():
    flat = np.array(["one", "two"], dtype=TEXT)
    assert len(Examples(flat)) == 2
    assert Examples(flat)[1].inputs.tolist() == ["two"]
    for wrong in (np.array("one", dtype=TEXT), np.zeros(3), np.array(["one"])):
        with pytest.raises(ClsightError, match="NumPy array"):
            Examples(wrong)


def test_pictures_are_arrays_of_one_or_several_too(tmp_path):
    gray = np.arange(2 * 6 * 5, dtype=np.uint8).reshape(2, 6, 5)
    np.save(tmp_path / "gray.npy", gray)
    colored = np.stack((gray,) * 3, axis=-1)
    for raw in (gray, colored, tmp_path / "gray.npy", [gray, colored][:1], [gray[0], gray[1]]):
        np.testing.assert_array_equal(read_pictures(raw).inputs, colored)
    with pytest.raises(ClsightError, match=r"but got uint8 \[6, 5, 4\]"):
        read_pictures(np.zeros((6, 5, 4), dtype=np.uint8))


def test_what_is_no_picture_is_told_by_its_kind():
    with pytest.raises(ClsightError, match="`picture`: expected an array or a path, but got a dict"):
        read_pictures({"a": 1})


@pytest.mark.parametrize("raw", ["\ud800 x", ["fine", "\udcff\udcfe"], [("fine", "\ud800")]])
def test_letters_that_no_text_holds_are_refused(raw):
    with pytest.raises(ClsightError, match="expected text that UTF-8 can hold, but got '"):
        read_text(raw)


def test_series_are_read_from_tables_of_text(tmp_path):
    made = np.arange(12.0).reshape(4, 3) / 7
    np.savetxt(tmp_path / "saved.txt", made, header="first second third")
    (tmp_path / "named.txt").write_text("a b c\n" + "\n".join(" ".join(map(str, row)) for row in made))
    (tmp_path / "commas.txt").write_text("\n".join(", ".join(map(str, row)) for row in made))
    for name in ("saved.txt", "named.txt", "commas.txt"):
        np.testing.assert_array_equal(read_series(tmp_path / name).inputs, made[None])


def test_ids_are_text_files_and_arrays(tmp_path):
    (tmp_path / "ids.txt").write_text("3 1 4\n1, 5, 9\n\n")
    np.save(tmp_path / "ids.npy", np.array([[3, 1, 4], [1, 5, 9]]))
    long = " ".join(["12"] * 300)  # longer than a file's name may be
    for raw in (tmp_path / "ids.txt", str(tmp_path / "ids.npy"), ["3 1 4", "1 5 9"], [[3, 1, 4], [1, 5, 9]]):
        assert read_ids(raw).inputs.tolist() == [[3, 1, 4], [1, 5, 9]]
    assert read_ids(long).inputs.shape == (1, 300)
    with pytest.raises(ClsightError, match="as many in each sample"):
        read_ids(["3 1", "1 5 9"])


def test_text_is_read_from_a_path_and_never_from_a_name(tmp_path, monkeypatch):
    (tmp_path / "real.txt").write_text("the quick fox\nruns\n")
    monkeypatch.chdir(tmp_path)
    assert read_text(tmp_path / "real.txt").inputs.tolist() == ["the quick fox\nruns"]
    assert read_text("real.txt").inputs.tolist() == ["real.txt"]  # a page in the browser could send it


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("one.npy", b"", "but got an array of numbers"),
        ("one.PNG", b"", "but got a picture"),
        ("one.csv", b"1,2", "but got a table"),
        ("one.txt", b" \n", "but got an empty one"),
        ("one.txt", b"\xff\xfe\x00", "but got bytes that are no text in UTF-8"),
        ("one", b"a\0b", "but got bytes that are no text"),
    ],
)
def test_file_that_holds_no_text_is_refused(tmp_path, name, content, got):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClsightError) as caught:
        read_text(tmp_path / name)
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)
