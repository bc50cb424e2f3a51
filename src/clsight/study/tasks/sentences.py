"""Sentences: a text file of the user's, a label and a sentence a line, as words; such as their polarity."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clsight.errors import StudyError
from clsight.study.tasks.folds import FOLDS, Fold, fold
from clsight.study.tasks.task import Data, Part, Task, task

PADDING, UNKNOWN = 0, 1
"""Token ids that are no word."""
_WORDS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_+")


@dataclass(frozen=True)
class Labeled:
    """What a file holds, each sentence once.

    Attributes:
        sentences: `[sample]`, each as words.
        labels: `[sample]`, the place of its label in `classes`.
        classes: The labels in alphabetic order.
    """

    sentences: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    classes: tuple[str, ...]


@task("sentences")
def sentences(*, path: str, longest: int = 64, vocabulary: int = 4096) -> Task:
    r"""Return the task of telling a sentence's label.

    Words are lower case, and punctuation counts as words. The vocabulary is that of the training part alone.
    Sentences are split as the images of `digits`: five seeds test each once. A repeated one counts once.

    Args:
        path: UTF-8 text: in each line a label, a tab, and a sentence. Empty lines are left out. Files of one
            class each become one by `sed 's/^/positive\t/' positive.txt > all.txt`.
        longest: Words of a sentence; what follows is cut off.
        vocabulary: Words known at the most, the most frequent, with two ids for padding and unknown words.
    """
    if longest < 1 or vocabulary <= UNKNOWN + 1:
        raise StudyError(
            "task sentences",
            expected=f"`longest` of at least 1 and `vocabulary` of at least {UNKNOWN + 2}",
            got=f"{longest} and {vocabulary}",
            next_step="Correct `task_options`",
        )
    read = labeled(Path(path))

    def data(seed: int) -> Data:
        chosen = fold(read.labels, seed)
        known = words_known(read, chosen, vocabulary)
        return Data(*(_part(read, rows, known, longest) for rows in chosen))

    sizes = {"classes": len(read.classes), "vocabulary": vocabulary, "max_time": longest}
    return Task("sentences", {"embedding": "token", **sizes}, data)


def labeled(path: Path) -> Labeled:
    """Return the labeled sentences of a file.

    Raises:
        StudyError: If it cannot be read, a line has no label or no word, one sentence has two labels, or
            there are fewer than two labels or fewer than five sentences of one.
    """
    found: dict[tuple[str, ...], str] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        label, tab, sentence = line.partition("\t")
        label, words = label.strip(), words_of(sentence)
        if not (tab and label and words):
            raise _refusal(path, "a label, a tab and a sentence", repr(line[:40]), f"In line {number}")
        if found.setdefault(words, label) != label:
            raise _refusal(path, "one label per sentence", f"{found[words]} and {label}", f"In line {number}")
    counts = Counter(found.values())
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        told = ", ".join(f"{label} ({count})" for label, count in sorted(counts.items())) or "none"
        raise _refusal(path, f"two labels or more with at least {FOLDS} different sentences each", told)
    classes = tuple(sorted(counts))
    return Labeled(tuple(found), np.array([classes.index(label) for label in found.values()]), classes)


def words_of(sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence in lower case: letters, digits, and each other sign on its own.

    Example:
        >>> words_of("It's 20 times Better!")
        ('it', "'", 's', '20', 'times', 'better', '!')
    """
    return tuple(_WORDS.findall(sentence.lower()))


def words_known(read: Labeled, chosen: Fold, vocabulary: int) -> dict[str, int]:
    """Return the ids of the most frequent words of the training part; equally frequent ones by alphabet."""
    counts = Counter(word for row in chosen.train for word in read.sentences[row])
    ordered = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - UNKNOWN - 1]
    return {word: number for number, word in enumerate(ordered, UNKNOWN + 1)}


def _part(read: Labeled, rows: np.ndarray, known: dict[str, int], longest: int) -> Part:
    chosen = [read.sentences[row][:longest] for row in rows]
    ids = torch.full((len(chosen), max(map(len, chosen))), PADDING)
    for sample, words in enumerate(chosen):
        ids[sample, : len(words)] = torch.tensor([known.get(word, UNKNOWN) for word in words])
    return Part(ids, torch.from_numpy(read.labels[rows]).long(), ids != PADDING)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(path, "a text file in UTF-8", f"{type(error).__name__}: {error}") from error


def _refusal(path: Path, expected: str, got: str, where: str = "") -> StudyError:
    step = "Correct the file, or `path` in `task_options`"
    return StudyError(str(path), expected=expected, got=got, where=where, next_step=step)
