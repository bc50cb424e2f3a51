"""The options that say how to load a model: the same in each command, and each problem one sentence."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result

import clsight
from clsight import cli
from clsight_app.catalog import Catalog, Source
from encoder_builders import randomize
from huggingface_folders import TEXT_FAMILIES, save_text_model
from user_modules import FEATURES, HEADS, WIDTH, Abreast, FixedForum, Pictures, Series, Text

CODE = """
from encoder_builders import randomize
from user_modules import Abreast, Series


def make():
    return randomize(Series())


def make_abreast():
    return randomize(Abreast())
"""


def run(*arguments: object) -> Result:
    """Run a clsight command in this process; an exception that is not an exit is raised here."""
    return CliRunner().invoke(cli.main, [str(each) for each in arguments], catch_exceptions=False)


def sentence(result: Result) -> str:
    """Return the one sentence on stderr of a command that ended with exit code 2 and printed nothing else."""
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: `")
    return line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a user's code and three of his files of weights."""
    for kind in (FixedForum, Series, Text, Pictures):
        torch.save(randomize(kind()).state_dict(), tmp_path / f"{kind.__name__}.pt")
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def captured(*arguments: object) -> tuple[str, xr.Dataset]:
    """Return what `clsight capture` printed, and the record it saved."""
    done = run("capture", *arguments, "--out", "out.zarr.zip")
    assert done.exit_code == 0, done.stderr
    return done.stdout, clsight.open_record("out.zarr.zip")


@pytest.mark.parametrize("command", ["app", "capture", "doctor"])
def test_every_command_that_loads_takes_the_options(command: str) -> None:
    text = run(command, "--help").stdout
    names = ("--architecture", "--heads", "--norm", "--activation", "--cls-index", "--within", "--classifies")
    names = (*names, "--model")
    assert [name for name in names if f"  {name}" not in text] == []


def test_capture_of_a_state_dict_says_what_it_assumed(here: Path) -> None:
    printed, record = captured("Series.pt", "--heads", HEADS, "--norm", "pre", "--activation", "gelu")
    [saved, told] = printed.splitlines()
    assert saved.startswith("Saved out.zarr.zip: Series, 4 examples, 2 layers, 4 heads, 10 tokens")
    assert saved.endswith(" kB; examples: synthetic series, seed 0.")
    assert told.startswith("Note: Reconstructed forward. Inferred: 2 layers (`encoder.layers`), width 24,")
    expected = clsight.load("Series.pt", heads=HEADS, norm="pre", activation="gelu")
    np.testing.assert_array_equal(
        record["attends_to"], clsight.capture(expected, expected.examples)["attends_to"]
    )


def test_capture_and_show_tell_which_weights_did_not_load(here: Path) -> None:
    weights = torch.load("Series.pt", weights_only=True)
    less = {
        name: tensor for name, tensor in weights.items() if not name.startswith("encoder.layers.1.linear")
    }
    torch.save({**less, "other.weight": torch.ones(2)}, "less.pt")
    printed, record = captured("less.pt", "--model", "mine:make")
    told = [
        "Note: 2 weights were not in the file and keep their start: `encoder.layers.1` (2)",
        "Note: 1 weight of the file found no place: `other` (1)",
    ]
    assert printed.splitlines()[1:] == told
    assert run("show", "out.zarr.zip").stdout.splitlines()[-2:] == told
    assert [f"Note: {note}" for note in record.attrs["notes"]] == told


def test_capture_takes_no_answer_from_a_model_that_gives_none(here: Path) -> None:
    _, record = captured("Series.pt", "--model", "mine:make", "--no-classifies")
    assert "logits" not in record
    _, made = captured("--model", "mine:make", "--no-classifies")
    assert "logits" not in made


def test_capture_without_heads_is_a_sentence(here: Path) -> None:
    line = sentence(run("capture", "FixedForum.pt", "--out", "x.zarr.zip"))
    assert "Pass heads=N (--heads N), a divisor of 24: 1, 2, 3, 4, 6, 8, 12, 24." in line
    assert not (here / "x.zarr.zip").exists()


def test_capture_imports_the_users_class_from_the_folder_it_stands_in(here: Path) -> None:
    printed, record = captured("Series.pt", "--model", "mine:make")
    subject = clsight.load("Series.pt", factory=Series)
    np.testing.assert_array_equal(
        record["attends_to"], clsight.capture(subject, subject.examples)["attends_to"]
    )
    assert len(printed.splitlines()) == 1


def test_model_may_be_left_out_where_a_factory_makes_it(here: Path) -> None:
    printed, record = captured("--model", "mine:make")
    assert printed.startswith("Saved out.zarr.zip: Series, 4 examples")
    assert record.sizes["token"] == 10


def test_within_chooses_one_of_several_encoders(here: Path) -> None:
    torch.save(randomize(Abreast()).state_dict(), "Abreast.pt")
    _, record = captured("Abreast.pt", "--model", "mine:make_abreast", "--within", "right")
    assert record["layer_name"].values.tolist() == ["right.0", "right.1"]
    _, record = captured("--model", "mine:make_abreast", "--within", "left")
    assert record["layer_name"].values.tolist() == ["left.layers.0"]


def test_neither_model_nor_factory_is_a_sentence(here: Path) -> None:
    line = sentence(run("capture", "--out", "x.zarr.zip"))
    assert "`MODEL`: expected a model, but got none. Name a model folder or file, or your own class" in line
    line = sentence(run("capture", "--model", "mine:make", "--heads", 2, "--out", "x.zarr.zip"))
    assert "`heads`: expected no such option for --model, but got one." in line


def test_factory_that_is_not_there_is_a_sentence(here: Path) -> None:
    line = sentence(run("capture", "Series.pt", "--model", "mine:mkae", "--out", "x.zarr.zip"))
    assert "`--model`: expected `mkae` in mine, but got no such name. Did you mean `make`?" in line


def test_cls_index_is_where_the_map_is_read(here: Path) -> None:
    _, record = captured("FixedForum.pt", "--heads", HEADS, "--cls-index", -1)
    assert record["token_text"].values[:, -1].tolist() == ["[CLS]"] * 4
    subject = clsight.load("FixedForum.pt", heads=HEADS, cls_index=12)  # the last of 13 tokens
    expected = clsight.capture(subject, subject.examples)
    np.testing.assert_array_equal(record["attends_to"], expected["attends_to"])


@pytest.mark.parametrize("name", ["series.npy", "series.csv", "series.txt"])
def test_input_is_read_from_a_file_of_numbers(here: Path, name: str) -> None:
    series = np.random.default_rng(0).normal(size=(6, FEATURES)).round(3)
    np.save("series.npy", series)
    np.savetxt("series.csv", series, delimiter=",")
    np.savetxt("series.txt", series)
    _, record = captured("Series.pt", "--heads", HEADS, "--input", name)
    assert dict(record.sizes)["sample"] == 1
    subject = clsight.load("Series.pt", heads=HEADS)
    expected = clsight.capture(subject, series[None])
    np.testing.assert_allclose(record["attends_to"], expected["attends_to"], atol=1e-6)


def test_capture_of_ones_own_input_tells_of_no_made_up_examples(here: Path) -> None:
    np.save("mine.npy", np.ones((4, FEATURES), np.float32))
    printed, _ = captured("Series.pt", "--heads", HEADS, "--input", "mine.npy")
    assert printed.splitlines()[0].endswith(" kB.")


def test_input_of_ids_is_text_or_a_file(here: Path) -> None:
    (here / "ids.txt").write_text("3 1 4 1")
    for given in ("3 1 4 1", "ids.txt"):
        _, record = captured("Text.pt", "--heads", HEADS, "--input", given)
        assert record["token_text"].values.tolist() == [["[CLS]", "3", "1", "4", "1"]]


def test_input_of_pictures_is_a_path_each(here: Path) -> None:
    from PIL import Image

    for number in (0, 1):
        Image.fromarray(np.full((20, 16, 3), 90 * number, dtype=np.uint8)).save(f"{number}.png")
    _, record = captured("Pictures.pt", "--heads", HEADS, "--input", "0.png", "--input", "1.png")
    assert (record.sizes["sample"], record.sizes["token"]) == (2, 10)


@pytest.fixture
def words(here: Path) -> str:
    """Return the name of a folder with a model of text, and stand beside it."""
    (here / "words").mkdir()
    save_text_model(here / "words", *TEXT_FAMILIES["bert"])
    return "words"


def test_input_of_a_text_model_is_the_text_in_a_file(here: Path, words: str) -> None:
    (here / "real.txt").write_text("two children\n")
    _, from_file = captured(words, "--input", "real.txt", "--input", "a dog")
    _, from_text = captured(words, "--input", "two children", "--input", "a dog")
    assert from_file["token_text"].values.tolist() == from_text["token_text"].values.tolist()
    np.testing.assert_array_equal(from_file["attends_to"], from_text["attends_to"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("numbers.npy", "expected a text, or a file of text such as .txt, but got an array of numbers."),
        ("one.png", "expected a text, or a file of text such as .txt, but got a picture."),
        ("missing.txt", "expected a file that exists, or a text, but got no file of that name."),
        ("\udcff\udcfe", "expected text that UTF-8 can hold, but got '\\udcff\\udcfe' in it."),
    ],
)
def test_input_that_a_text_model_cannot_read_is_a_sentence(
    here: Path, words: str, given: str, told: str
) -> None:
    np.save("numbers.npy", np.zeros(3))
    (here / "one.png").write_bytes(b"")
    assert told in sentence(run("capture", words, "--input", given, "--out", "x.zarr.zip"))


def test_input_of_ids_may_be_given_several_times(here: Path) -> None:
    _, record = captured("Text.pt", "--heads", HEADS, "--input", "3 1 4", "--input", "1 5 9")
    assert record["token_text"].values.tolist() == [["[CLS]", "3", "1", "4"], ["[CLS]", "1", "5", "9"]]


def test_input_beside_a_number_of_examples_is_a_sentence(here: Path) -> None:
    arguments = ("--heads", HEADS, "--input", "1 2", "--examples", 1, "--out", "x.zarr.zip")
    line = sentence(run("capture", "Text.pt", *arguments))
    assert "`--examples`: expected no --input beside it, but got both." in line


def test_input_that_does_not_fit_is_a_sentence(here: Path) -> None:
    np.save("wide.npy", np.zeros((6, WIDTH)))
    arguments = ("--heads", HEADS, "--input", "wide.npy", "--out", "x.zarr.zip")
    line = sentence(run("capture", "Series.pt", *arguments))
    assert "expected numbers [sample, time, feature=5], but got float64 [1, 6, 24]." in line


def test_app_shows_sources_with_their_options(here: Path) -> None:
    sources = [Source.of(here / f"{name}.pt", {"heads": HEADS}) for name in ("Series", "Text")]
    catalog = Catalog([*sources, Source("made", lambda: clsight.subject_of(randomize(Series())))])
    catalog.load_all()
    assert catalog.models == ("Series.pt", "Text.pt", "made")
    assert catalog.record("Series.pt", 1).sizes["head"] == HEADS
    assert len(catalog.examples("made")) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("FixedForum.pt",), "--heads N"),
        (("--heads", 4), "`MODEL`: expected a model, but got none."),
        (("digits-learned", "--heads", 4), "`heads`: expected no such option for a clsight folder"),
    ],
)
def test_app_that_cannot_load_ends_in_a_sentence(
    here: Path, arguments: tuple[object, ...], message: str
) -> None:
    assert message in sentence(run("app", "--no-browser", "--port", 8999, *arguments))
