"""Which linear maps, embeddings and convolutions of a state dict are its input, and which its head?

Told from shapes; where a shape allows two readings the name decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from clsight.loading.state_dict_groups import Shapes, refuse
from clsight.loading.state_dict_layers import Tower, is_linear

_HEAD: Final = re.compile(r"head|fc|classif|(^|[._])out|logit|pred|mlp|decod|pool|cls")
_WORDS: Final = re.compile(r"emb|tok|word|vocab|wte|lookup")
_INPUT: Final = re.compile(r"emb|input|in_|_in($|\.)|proj|patch|token|feature|stem")
_TOKENS: Final = re.compile(r"tok|word|vocab|wte|lookup")
_OTHER_IDS: Final = re.compile(r"type|seg|pos")
Modules = Mapping[str, Shapes]


@dataclass
class Parts:
    """The tensors and modules around the layers, by their names in the file; None where there is none.

    Attributes:
        cls: Tensor of [CLS].
        embedding: Embedding of token ids.
        linear: Linear map to the width.
        convolution: Convolution that cuts pictures into patches.
        position: Tensor of the positions, with one row for each.
        early_norm: Norm of the tokens before the first layer.
        final_norm: Norm after the last layer.
        head_norm: Norm of [CLS] before the head.
        head: Linear map to the classes.
        assumed: What names decided where shapes did not.
    """

    cls: str | None = None
    embedding: str | None = None
    linear: str | None = None
    convolution: str | None = None
    position: str | None = None
    early_norm: str | None = None
    final_norm: str | None = None
    head_norm: str | None = None
    head: str | None = None
    assumed: dict[str, str] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules among the parts."""
        embedding = (self.embedding, self.linear, self.convolution)
        norms = (self.early_norm, self.final_norm, self.head_norm)
        return tuple(name for name in (*embedding, *norms, self.head) if name is not None)


def set_maps(parts: Parts, modules: Modules, tower: Tower, file: str) -> None:
    """Find the input layer and the head among the linear maps, embeddings and convolutions."""
    width = tower.width
    filters = [name for name, each in modules.items() if len(each.get("weight", ())) > 2]
    parts.convolution = _only(
        [name for name in filters if _cuts_patches(modules[name], width)], "input", file
    )
    strange = [name for name in filters if name != parts.convolution]
    if strange:
        refuse(file, "an input of one linear map, embedding or patches", f"`{strange[0]}`, a convolution")
    maps = {name: each for name, each in modules.items() if is_linear(each)}
    if not tower.layers[0].feedforward:
        _check_no_feedforward(maps, width, file)
    unclear = [name for name in maps if _is_unclear(name, maps[name], width)]
    if unclear:
        refuse(file, "maps whose shapes or names tell input from head", f"`{unclear[0]}` [{width}, {width}]")
    heads = [name for name in maps if _is_head(name, maps[name], width, maps)]
    parts.head = heads[0] if len(heads) == 1 else None
    if len(heads) > 1:
        parts.assumed["head"] = f"no answer is computed, since {_list(heads)} could each be the head"
    inputs = {name: each for name, each in maps.items() if name not in heads}
    words = [name for name in inputs if _is_embedding(name, inputs[name], width)]
    named = [name for name in words if not _OTHER_IDS.search(name.lower())]
    parts.embedding = _only(named, "embedding of token ids", file)
    linears = [name for name in inputs if name not in words and inputs[name]["weight"][0] == width]
    parts.linear = _only(linears, "input layer", file)
    nameless = {name: each for name, each in inputs.items() if name not in words}
    _take_nameless(parts, nameless, width, file)
    _check_input(parts, inputs, words, width, file)
    _check_square_heads(parts, heads, maps, width, file)


def _check_input(parts: Parts, inputs: Modules, words: list[str], width: int, file: str) -> None:
    """Refuse what stands before the layers in several steps whose order the names do not tell."""
    into = None if parts.embedding is None else inputs[parts.embedding]["weight"][1]
    if into is not None and into != width and parts.linear is None:
        refuse(file, f"an embedding of width {width}", f"`{parts.embedding}` of width {into}")
    if parts.embedding and parts.linear and (into == width or inputs[parts.linear]["weight"][1] != into):
        refuse(file, "one input layer", _list([parts.embedding, parts.linear]))
    if parts.convolution is not None and (parts.embedding or parts.linear):
        got = _list([parts.convolution, *(name for name in (parts.embedding, parts.linear) if name)])
        refuse(file, "one input layer", got)
    if parts.linear is None:
        return
    before = [
        name
        for name, each in inputs.items()
        if name not in (parts.linear, parts.embedding)
        and name not in words
        and each["weight"][0] == inputs[parts.linear]["weight"][1]
    ]
    if before:
        refuse(file, "an input of one linear map", f"`{before[0]}` before `{parts.linear}`")


def _check_square_heads(parts: Parts, heads: list[str], maps: Modules, width: int, file: str) -> None:
    """Refuse a square map beside the head where there is no input: it could be that."""
    if len(heads) < 2 or not parts.linear is parts.embedding is parts.convolution is None:
        return
    parents = [name.rpartition(".")[0] for name in heads]
    for name, parent in zip(heads, parents, strict=True):
        is_alone = not parent or parents.count(parent) == 1
        if maps[name]["weight"] == (width, width) and is_alone and "pool" not in name.lower():
            refuse(file, "names that tell an input from a head", f"`{name}`, which could be both")


def _cuts_patches(tensors: Shapes, width: int) -> bool:
    weight = tensors["weight"]
    return (
        len(weight) == 4
        and weight[0] == width
        and weight[1] in (1, 3)
        and tensors.keys() <= {"weight", "bias"}
    )


def _is_head(name: str, tensors: Shapes, width: int, maps: Modules) -> bool:
    """Tell whether a linear map reads the width, by its shape; by its name, where others have that shape."""
    out, into = tensors["weight"]
    lower = name.lower()
    if _HEAD.search(lower) and not _WORDS.search(lower):
        return into == width or any(_feeds(other, into, width) for other in maps.values())
    if into != width or _WORDS.search(lower) or "bias" not in tensors:
        return False
    return out != width or not _INPUT.search(lower)


def _check_no_feedforward(maps: Modules, width: int, file: str) -> None:
    """Refuse a map from the width and one back beside an attention alone, unless their names tell."""
    out = {name: each["weight"][0] for name, each in maps.items() if each["weight"][1] == width}
    for name, each in maps.items():
        pair = [other for other, inner in out.items() if each["weight"] == (width, inner) and other != name]
        if pair and not (_INPUT.search(name.lower()) or _HEAD.search(pair[0].lower())):
            refuse(file, "attention alone, or layers with all that is in them", _list([pair[0], name]))


def _is_unclear(name: str, tensors: Shapes, width: int) -> bool:
    """Tell whether a square map could be an input or a head, or a table of words as well as a linear map."""
    lower = name.lower()
    hinted = bool(_HEAD.search(lower)) != bool(_INPUT.search(lower) or _WORDS.search(lower))
    both = "bias" not in tensors and "emb" in lower and not _TOKENS.search(lower)
    return tensors["weight"] == (width, width) and (not hinted or both)


def _feeds(tensors: Shapes, into: int, width: int) -> bool:
    """Tell whether a linear map takes the width to what another one takes."""
    return tensors["weight"] == (into, width)


def _is_embedding(name: str, tensors: Shapes, width: int) -> bool:
    """Tell whether a map without a bias is a table of words, not a linear map to the width."""
    rows, columns = tensors["weight"]
    is_table = columns == width or rows != width
    return "bias" not in tensors and is_table and bool(_WORDS.search(name.lower()))


def _take_nameless(parts: Parts, maps: Modules, width: int, file: str) -> None:
    """Take a map `[rows, width]` without a bias, of a name that says nothing, for what is still missing."""
    tables = [name for name, each in maps.items() if "bias" not in each and each["weight"][1] == width]
    tables = [name for name in tables if name != parts.linear]
    lacks_input = parts.embedding is parts.linear is parts.convolution is None
    lacks_head = parts.head is None and "head" not in parts.assumed
    if lacks_input and tables and (lacks_head or len(tables) > 1):
        refuse(file, "names that tell an embedding from a head", f"`{tables[0]}`, which could be both")
    if len(tables) != 1:
        return
    if lacks_input:
        parts.embedding = tables[0]
        parts.assumed["input"] = f"`{tables[0]}`, by its shape, is an embedding of token ids"
    elif lacks_head:
        parts.head = tables[0]
        parts.assumed["head"] = f"`{tables[0]}`, by its shape, is the head"


def _only(names: list[str], what: str, file: str) -> str | None:
    if len(names) > 1:
        refuse(file, f"one {what}", _list(names))
    return names[0] if names else None


def _list(names: list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
