"""What does a pickle say? It is read like a text, by a machine that knows the words of `torch.save` alone.

A pickle is a program. Here `pickletools` splits it into its instructions, and this machine follows those that
build plain values and claims about tensors. It imports nothing and calls nothing that the pickle names.
"""

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from clsight.loading.claims import StorageClaim, storage_claim
from clsight.loading.pickle_names import NAMES, Attributes, Call, NumpyKind, Ordered
from clsight.loading.plain_values import check_extent
from clsight.loading.refusals import RefusedError, quoted

LARGEST_PICKLE: Final = 16 * 2**20
MOST_INSTRUCTIONS: Final = 500_000
_LARGEST_INT: Final = 2**63
_MARK: Final = object()
RESAVE: Final = (
    "If the file is yours, save its weights alone: `import torch`, "
    "`checkpoint = torch.load('{file}', weights_only=False)`, "
    "`torch.save(checkpoint['state_dict'], 'weights.pt')`, with the name that the weights have there"
)


@dataclass(frozen=True)
class Pickle:
    """What a pickle says.

    Attributes:
        value: Dicts, lists, tuples, texts, numbers; `TensorClaim` for each tensor.
        storages: What it claims about the memory of tensors, by key.
    """

    value: Any
    storages: dict[str, StorageClaim]


def read_pickle(stream: BinaryIO) -> Pickle:
    """Return what the pickle at the stream's position says, and leave the stream behind it.

    Raises:
        RefusedError: If it is broken, too long, nested too deep, or names anything that is not in `NAMES`.
    """
    machine = _Machine()
    start = stream.tell()
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(stream)):
            if count >= MOST_INSTRUCTIONS or (place or 0) - start > LARGEST_PICKLE:
                raise RefusedError(f"a pickle of at most {MOST_INSTRUCTIONS:,} instructions", "more")
            machine.follow(opcode.name, argument)
        value = machine.result()
        check_extent(value)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        text = str(error) or type(error).__name__
        raise RefusedError("a whole pickle of `torch.save`", f"a broken one ({text[:200]})") from error
    return Pickle(value, machine.storages)


@dataclass
class _Machine:
    """The stack and the notes of a pickle that is being read."""

    stack: list[Any] = field(default_factory=list)
    notes: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, StorageClaim] = field(default_factory=dict)

    def follow(self, name: str, argument: Any) -> None:
        """Do what one instruction says."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _SILENT:
            raise RefusedError("the instructions that `torch.save` writes", f"{name} in its pickle", RESAVE)

    def result(self) -> Any:
        if len(self.stack) != 1:
            raise RefusedError("a pickle of one value", f"{len(self.stack)}")
        return _value(self.stack[0])

    def protocol(self, number: int) -> None:
        if number > pickle.HIGHEST_PROTOCOL:
            raise RefusedError(f"a pickle of protocol {pickle.HIGHEST_PROTOCOL} or earlier", f"{number}")

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark on the stack")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def whole_number(self, value: Any) -> None:
        if not -_LARGEST_INT <= value < 2 * _LARGEST_INT:
            raise RefusedError("whole numbers of 64 bits", "a longer one")
        self.stack.append(value)

    def name(self, name: str) -> None:
        if name not in NAMES:
            raise RefusedError("names that `torch.save` uses for weights", f"`{quoted(name)[1:-1]}`", RESAVE)
        self.stack.append(NAMES[name])

    def joined_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise RefusedError("a name of text", quoted(name))
        self.name(f"{module} {name}")

    def note(self, key: int | None) -> None:
        self.notes[len(self.notes) if key is None else key] = _value(self.stack[-1])

    def recall(self, key: int) -> None:
        self.stack.append(self.notes[key])

    def persistent(self, _: Any) -> None:
        claim = storage_claim(self.stack.pop())
        if self.storages.setdefault(claim.key, claim) != claim:
            raise RefusedError("storages of one kind and size each", f"{quoted(claim.key)} with two")
        self.stack.append(claim)

    def call(self, _: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Call) or not isinstance(arguments, tuple):
            raise RefusedError("calls of known names", f"a call of {quoted(called)}", RESAVE)
        self.stack.append(called.result(*arguments))

    def new(self, _: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Call) or not called.makes_dict or arguments != ():
            raise RefusedError("new objects of known classes", f"one of {quoted(called)}", RESAVE)
        self.stack.append(called.result())

    def build(self, _: Any) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        match built, state:
            case Attributes(), dict():
                _check_keys(state)
                built.update(state)
            case Ordered(), dict():
                pass
            case NumpyKind(), (3, "<" | "|" | "=", None, None, None, -1, -1, 0):
                pass
            case _:
                raise RefusedError("attributes of known classes", f"some of {quoted(built)}", RESAVE)

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise RefusedError("values appended to a list", f"to {quoted(target)}")
        target.extend(_value(value) for value in values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise RefusedError("items set in a dict", f"in {quoted(target)}")
        items = (
            dict(zip(values[::2], map(_value, values[1::2]), strict=True)) if _are_keys(values[::2]) else {}
        )
        target.update(items)

    def tuple_of(self, count: int) -> None:
        values = tuple(map(_value, self.stack[-count:]))
        if len(values) < count:
            raise ValueError("too few values on the stack")
        del self.stack[-count:]
        self.stack.append(values)


def _check_keys(items: dict[Any, Any]) -> None:
    if not all(isinstance(key, str) for key in items):
        raise RefusedError("attributes with names", "others")


def _are_keys(values: list[Any]) -> bool:
    """Refuse keys other than texts and numbers; the hash of a nested tuple alone can end the process."""
    for value in values:
        if not isinstance(value, str | int | None):
            raise RefusedError("texts and whole numbers as keys", quoted(value), RESAVE)
    return True


def _value(value: Any) -> Any:
    if value is _MARK:
        raise ValueError("a mark where a value belongs")
    return value


_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_VALUES: Final = frozenset(
    {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES"}
)
_SILENT: Final = frozenset({"FRAME", "STOP"})
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": _Machine.protocol,
    "LONG1": _Machine.whole_number,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.joined_name,
    "BINPUT": _Machine.note,
    "LONG_BINPUT": _Machine.note,
    "MEMOIZE": _Machine.note,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.new,
    "BUILD": _Machine.build,
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
}
