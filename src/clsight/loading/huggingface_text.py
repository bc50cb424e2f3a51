"""A transformers model of text as a `Subject`: where [CLS] stands among its words, and how it is called."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from clsight.errors import ClsightError
from clsight.loading.default_examples import sentences
from clsight.loading.huggingface_tokenizer import FolderTokenizer, has_tokenizer, read_tokenizer
from clsight.loading.plain_input import PlainInput
from clsight.loading.raw_data import read_text
from clsight.loading.subject import ClsVector, Takes
from clsight.loading.text import SentenceTokenizer, TextTokens
from clsight.loading.token_layout import with_cls_at
from clsight.preparation import Array, Examples, Prepared

_TEXT: Final = np.dtypes.StringDType()
_PROBES: Final = ("a", "one two three", "a longer sentence, with two parts, and a dot.")
_NO_TOKENIZER: Final = "No tokenizer beside the model: it takes token ids, and [CLS] is taken to be the first"
_CUT: Final = "Text of more than {} tokens is cut to its first {}, special tokens counted"
_NO_CLS: Final = "The tokenizer puts no [CLS] into a sentence"
_AT_END_CLASSES: Final = ("CLIPText", "CLIPSegText", "XCLIPText", "GroupViTText")
_MOVING: Final = "[CLS] stands at another position in each sentence"
_AT_END: Final = "The answer is read off the end-of-text token, at another position in each sentence"


@dataclass(frozen=True)
class Side:
    """All of a subject that depends on what its model takes.

    Attributes:
        takes: What one raw sample is.
        reading: From raw data to examples.
        preparation: From examples to what the module is called with.
        examples: To show the model on.
        cls_index: Position of [CLS]; None where it differs by sample, or there is none.
        cls_vector: Where its vector lives.
        provenance: What there is to say.
    """

    takes: Takes
    reading: Callable[[Any], Examples]
    preparation: Callable[[Examples], Prepared]
    examples: Examples
    cls_index: int | None
    cls_vector: ClsVector | None
    provenance: dict[str, Any]


def text_side(
    module: Any, folder: Path, *, longest: int | None = None, lowercase: bool = False, kind: str = ""
) -> Side:
    """Return how sentences enter a model of text.

    Args:
        module: A transformers model.
        folder: With its tokenizer.
        longest: Most tokens of a sample, if fewer than the model can take.
        lowercase: Whether sentences are lowercased first.
        kind: The `model_type` of its `config.json`.

    Raises:
        CheckpointError: If the tokenizer is broken, or there is more than one vocabulary.
    """
    if not has_tokenizer(folder):
        return _ids_side(module)
    found = read_tokenizer(folder, kind)
    limits = [most for most in (longest, found.longest, _longest(module)) if most is not None]
    cut = SentenceTokenizer(
        found.tokenizer,
        longest=min(limits) if limits else None,
        pad_id=_pad_id(module, found),
        lowercase=lowercase,
    )
    said: dict[str, Any] = {"examples": sentences().made}
    if limits:
        said["truncation"] = _CUT.format(min(limits), min(limits))
    if type(module).__name__.startswith(_AT_END_CLASSES):
        said["cls"] = _AT_END
        moving = TextPreparation(module, cut, None, moving=_end_of_text(module))
        return Side("text", read_text, moving, sentences(), None, None, said)
    cls_id = found.tokenizer.token_to_id(found.cls_token) if found.cls_token else None
    positions = _positions(cut, cls_id)
    if len(positions) > 1:
        said["cls"] = _MOVING
        moving = TextPreparation(module, cut, None, moving=_place_of(cls_id))
        return Side("text", read_text, moving, sentences(), None, None, said)
    position = next(iter(positions), None)
    if position is None:
        said["cls"] = _NO_CLS
    row = None if position is None or cls_id is None else ClsVector(_embedding(module).weight, row=cls_id)
    preparation = TextPreparation(module, cut, position)
    return Side("text", read_text, preparation, sentences(), position, row, said)


class TextPreparation:
    """Prepares sentences for a model of text.

    Args:
        module: A transformers model.
        cut: Cuts sentences into tokens.
        position: Of [CLS]; None without.
        moving: Where the answer is read off in each sample, where that differs: [sample].
    """

    def __init__(
        self,
        module: nn.Module,
        cut: SentenceTokenizer,
        position: int | None,
        *,
        moving: Callable[[TextTokens], Array] | None = None,
    ) -> None:
        self._module, self._cut, self._position, self._moving = module, cut, position, moving
        config = getattr(module, "config", None)
        accepted = inspect.signature(module.forward).parameters
        self._types = (getattr(config, "type_vocab_size", 0) or 0) if "token_type_ids" in accepted else 0

    def __call__(self, examples: Examples) -> Prepared:
        """Return token ids, mask and, where the model has them, token types; padding is at the end."""
        tokens = self._cut(examples)
        _check_ids(tokens.ids, _embedding(self._module).num_embeddings)
        device = next(self._module.parameters()).device
        inputs = {
            "input_ids": torch.from_numpy(tokens.ids).to(device),
            "attention_mask": torch.from_numpy(tokens.mask.astype(np.int64)).to(device),
        }
        if tokens.types.max() < self._types:
            inputs["token_type_ids"] = torch.from_numpy(tokens.types).to(device)
        places = self._moving(tokens) if self._moving else None
        return Prepared(
            inputs=inputs,
            token_mask=tokens.mask,
            token_text=tokens.text,
            token_kind=self._kinds(tokens, places),
            row=None,
            column=None,
            label=None if examples.labels is None else examples.labels.astype(np.int64),
            cls_index=places,
        )

    def _kinds(self, tokens: TextTokens, places: Array | None) -> Array:
        kinds = np.full(tokens.ids.shape, "word", dtype=_TEXT)
        kinds[tokens.special] = "special"
        kinds[~tokens.mask] = "pad"
        if places is not None:
            kinds[np.arange(len(kinds)), places] = "cls"
        elif self._position is not None:
            kinds[:, self._position] = "cls"
        return kinds


def _check_ids(ids: Array, rows: int) -> None:
    if ids.max() >= rows:
        raise ClsightError(
            "tokenizer",
            expected=f"token ids below {rows:,}, as the word embedding has rows",
            got=f"{ids.max():,}",
            next_step="Copy the tokenizer that belongs to the weights",
        )


def _positions(cut: SentenceTokenizer, cls_id: int | None) -> set[int]:
    """Return where the tokenizer puts [CLS] in sentences of different length; nothing if it puts none."""
    if cls_id is None:
        return set()
    found = [cut(read_text(probe)) for probe in _PROBES]
    if not all((tokens.special & (tokens.ids == cls_id)).any() for tokens in found):
        return set()
    return {int(_place_of(cls_id)(tokens)[0]) for tokens in found}


def _place_of(cls_id: int | None) -> Callable[[TextTokens], Array]:
    """Return the function that finds the [CLS] which the tokenizer put in, [sample]."""

    def place(tokens: TextTokens) -> Array:
        found: Array = (tokens.special & (tokens.ids == cls_id)).argmax(axis=1)
        return found

    return place


def _end_of_text(module: Any) -> Callable[[TextTokens], Array]:
    """Return the function that finds where CLIP reads its answer, [sample].

    That is the end-of-text token; by old settings, the largest id.
    """
    end = module.config.eos_token_id

    def place(tokens: TextTokens) -> Array:
        found: Array = (tokens.ids if end == 2 else tokens.ids == end).argmax(axis=1)
        return found

    return place


def _embedding(module: Any) -> Any:
    return module.get_input_embeddings()


def _pad_id(module: Any, found: FolderTokenizer) -> int:
    """Return what fills up shorter sentences; masked, so that any id will do where none is stated."""
    if found.pad_token:
        number: int = found.tokenizer.token_to_id(found.pad_token)
        return number
    stated = getattr(module.config, "pad_token_id", None)
    return stated if type(stated) is int and 0 <= stated < _embedding(module).num_embeddings else 0


def _longest(module: Any) -> int | None:
    """Return the most tokens that the model has positions for; None where it has no table of them.

    Models in the line of RoBERTa count positions from behind the padding index.
    """
    stated = getattr(module.config, "max_position_embeddings", None)
    table = next(
        (
            part
            for name, part in module.named_modules()
            if isinstance(part, nn.Embedding) and name.endswith("embeddings.position_embeddings")
        ),
        None,
    )
    if table is None:
        return stated if type(stated) is int and stated > 1 else None
    start = 0 if table.padding_idx is None else table.padding_idx + 1
    return max(2, table.num_embeddings - start)


def _ids_side(module: Any) -> Side:
    """Return how token ids enter a model without a tokenizer."""
    longest = _longest(module)
    taken = PlainInput(takes="token_ids", vocabulary=_embedding(module).num_embeddings, longest=longest)
    pad = getattr(module.config, "pad_token_id", None)
    examples = taken.examples()
    if type(pad) is int:  # a random id that says padding would be passed over by some models
        ids = np.where(examples.inputs == pad, (pad + 1) % taken.vocabulary, examples.inputs)
        examples = replace(examples, inputs=ids)

    def prepare(given: Examples) -> Prepared:
        if given.token_mask is not None:
            raise ClsightError(
                "examples.token_mask",
                expected="none: without a tokenizer the padding id is unknown",
                got="one",
                next_step="Pass samples of one length",
            )
        ids = taken.tensor(given, next(module.parameters()))
        time = taken.time_of(ids)
        prepared = taken.prepared(given, ids, with_cls_at(None, time))
        prepared.token_kind[:, 0] = "cls"
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return Prepared(**{**vars(prepared), "inputs": inputs})

    provenance = {"examples": examples.made, "assumed": {"cls_index": _NO_TOKENIZER}}
    return Side("token_ids", taken.read, prepare, examples, 0, None, provenance)
