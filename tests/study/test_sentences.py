"""Sentences of a file: words, vocabulary of the training part alone, and lines that are refused."""

import re

import pytest
import torch

from clsight import StudyError
from clsight.study.tasks import task_named
from clsight.study.tasks.folds import fold
from clsight.study.tasks.sentences import labeled, words_of

WORDS = [f"word{'abcdefghijklmnopqrst'[number]}" for number in range(20)]


@pytest.fixture
def path(tmp_path):
    """Return a file of 20 sentences: the first word is shared, the last is the sentence's own."""
    path = tmp_path / "sentences.txt"
    lines = [f"{'yes' if i % 2 else 'no'}\tThe {word}" for i, word in enumerate(WORDS)]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8-sig")
    return path


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Don't <b>stop</b>!", ("don", "'", "t", "<", "b", ">", "stop", "<", "/", "b", ">", "!")),
        ("naïve 日本語 3.5 __x", ("naïve", "日本語", "3", ".", "5", "__", "x")),
        ("  ", ()),
    ],
)
def test_words_are_letters_digits_and_each_other_sign(sentence, words):
    assert words_of(sentence) == words


def test_labels_are_in_alphabetic_order_and_sentences_counted_once(path):
    with path.open("a", encoding="utf-8") as file:
        file.write("no\tTHE wordA\n")  # the first one again, in other letters
    read = labeled(path)
    assert read.classes == ("no", "yes")
    assert len(read.sentences) == 20
    assert read.labels.tolist() == [0, 1] * 10


def test_words_that_training_does_not_have_are_unknown(path):
    task = task_named("sentences", {"path": str(path)})
    chosen, data = fold(labeled(path).labels, 3), task.data(3)
    assert torch.equal(data.test.inputs, torch.tensor([[2, 1]]).expand(len(chosen.test), 2))  # "the", unknown
    own = data.train.inputs[:, 1].tolist()
    assert sorted(own) == list(range(3, 3 + len(chosen.train)))  # one id for each sentence's own word
    order = sorted(range(len(own)), key=lambda row: WORDS[chosen.train[row]])
    assert [own[row] for row in order] == sorted(own)  # equally frequent: by alphabet


def test_sentences_are_cut_and_padded_with_a_mask(tmp_path):
    lines = [
        f"{'ab'[number % 2]}\t{' '.join(['w', 'x', 'y', 'z'][: 1 + number % 4])} {number}"
        for number in range(40)
    ]
    path = written(tmp_path / "s.txt", "\n".join(lines))
    part = task_named("sentences", {"path": str(path), "longest": 3}).data(0).train
    assert part.inputs.shape[1] == 3
    assert torch.equal(part.token_mask, part.inputs != 0)
    assert set(part.token_mask.sum(1).tolist()) == {2, 3}


def test_a_small_vocabulary_keeps_the_most_frequent(path):
    part = task_named("sentences", {"path": str(path), "vocabulary": 3}).data(0).train
    assert set(part.inputs.flatten().tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\tx\nno tab here\n", "expected a label, a tab and a sentence, but got 'no tab here'"),
        ("a\t \n", r"expected a label, a tab and a sentence, but got 'a\\t '"),
        ("a\tx\nb\tX\n", "expected one label per sentence, but got a and b"),
        ("", "expected two labels or more with at least 5 different sentences each, but got none"),
        (
            "\n".join([*(f"a\tx {n}" for n in range(9)), "b\ty"]),
            r"with at least 5 different sentences each, but got a \(9\), b \(1\)",
        ),
    ],
)
def test_a_file_that_is_not_labeled_sentences_is_refused(tmp_path, text, told):
    path = written(tmp_path / "s.txt", text)
    with pytest.raises(StudyError, match=told) as refusal:
        labeled(path)
    assert str(path) in str(refusal.value)
    assert "Correct the file, or `path` in `task_options`" in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"expected a text file in UTF-8, but got FileNotFoundError"):
        labeled(tmp_path / "none.txt")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("a\tnaïve".encode("latin-1"))
    with pytest.raises(StudyError, match=r"expected a text file in UTF-8, but got UnicodeDecodeError"):
        labeled(latin)


@pytest.mark.parametrize("options", [{"longest": 0}, {"vocabulary": 2}])
def test_options_without_room_are_refused(path, options):
    told = re.escape("`task sentences`: expected `longest` of at least 1 and `vocabulary` of at least 3")
    with pytest.raises(StudyError, match=told):
        task_named("sentences", {"path": str(path), **options})
