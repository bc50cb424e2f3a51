"""Pickles that run code when they are unpickled, each in its own way, and leave a mark where they did."""

import _pickle
import builtins
import copyreg
import functools
import importlib
import marshal
import operator
import os
import pathlib
import pickle
import runpy
import shutil
import subprocess
import timeit
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torch_archives import Calls, OtherReference, archive, claim, pickled, saved, weights, zipped


def running_files(marks: Path) -> dict[str, bytes]:
    """Return files by the name of the mark that each leaves in a folder if its code runs.

    Args:
        marks: An existing folder; some put files there that they then open.
    """
    calls: dict[str, Any] = {}
    for make in (_shells, _interpreters, _chains, _places, _files):
        calls |= make(marks)
    found = {name: archive(pickled({"weight": claim(), "evil": call})) for name, call in calls.items()}
    return found | _spellings(marks) | _hidden(marks)


def _touch(marks: Path, name: str) -> str:
    return f"touch '{marks / name}'"


def _shell(marks: Path, name: str) -> Calls:
    return Calls(os.system, _touch(marks, name))


def _code(marks: Path, name: str) -> str:
    return f"open({str(marks / name)!r}, 'w').close()"


def _shells(marks: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"os.system": _shell(marks, "os.system")}
    found["getoutput"] = Calls(subprocess.getoutput, _touch(marks, "getoutput"))
    for call in (subprocess.Popen, subprocess.call, subprocess.check_output, subprocess.run):
        found[call.__name__] = Calls(call, ["touch", str(marks / call.__name__)])
    found["mkdir"] = Calls(os.mkdir, str(marks / "mkdir"))
    found["spawn"] = Calls(os.posix_spawn, "/usr/bin/touch", ["touch", str(marks / "spawn")], {})
    return found


def _interpreters(marks: Path) -> dict[str, Any]:
    marshaled = marshal.dumps(compile(_code(marks, "marshal"), "x", "exec"))
    return {
        "eval": Calls(eval, _code(marks, "eval")),
        "exec": Calls(exec, _code(marks, "exec")),
        "timeit": Calls(timeit.timeit, _code(marks, "timeit"), "pass", timeit.default_timer, 1),
        "marshal": Calls(eval, Calls(marshal.loads, marshaled)),
        "compile": Calls(exec, Calls(compile, _code(marks, "compile"), "x", "exec")),
        "loads": Calls(pickle.loads, pickle.dumps(_shell(marks, "loads"))),
        "c loads": Calls(_pickle.loads, pickle.dumps(_shell(marks, "c loads"))),
    }


def _chains(marks: Path) -> dict[str, Any]:
    """Return calls that reach a function by way of others."""
    built = Calls(getattr, Calls(builtins.__import__, "os"), "system")
    imported = Calls(getattr, Calls(importlib.import_module, "os"), "system")
    gotten = Calls(operator.call, operator.attrgetter("system"), Calls(importlib.import_module, "os"))
    return {
        "import": Calls(operator.call, built, _touch(marks, "import")),
        "import_module": Calls(operator.call, imported, _touch(marks, "import_module")),
        "attrgetter": Calls(operator.call, gotten, _touch(marks, "attrgetter")),
        "partial": Calls(operator.call, functools.partial(os.system, _touch(marks, "partial"))),
        "reduce": Calls(functools.reduce, operator.call, [os.system, _touch(marks, "reduce")]),
        "map": Calls(list, Calls(map, os.system, [_touch(marks, "map")])),
        "filter": Calls(tuple, Calls(filter, os.system, [_touch(marks, "filter")])),
        "reconstructor": Calls(copyreg._reconstructor, OrderedDict, object, _shell(marks, "reconstructor")),
        "from type": Calls(
            torch._tensor._rebuild_from_type_v2, os.system, int, (_touch(marks, "from type"),), {}
        ),
    }


def _places(marks: Path) -> dict[str, Any]:
    """Return calls of the plain function at places where one expects something harmless."""
    rebuild = torch._utils._rebuild_tensor_v2
    source = ("module", _shell(marks, "module source"), "net.py", "class Net: pass")
    return {
        "dict key": {_shell(marks, "dict key"): 1},
        "state": Calls(OrderedDict, state={"_metadata": _shell(marks, "state")}),
        "storage": Calls(rebuild, _shell(marks, "storage"), 0, (1,), (1,), False, OrderedDict()),
        "hooks": Calls(rebuild, claim(), 0, (1,), (1,), False, {"hook": _shell(marks, "hooks")}),
        "reference": OtherReference(("storage", torch.FloatStorage, "0", _shell(marks, "reference"), 12)),
        "module source": OtherReference(source),
        "size": Calls(torch.Size, _shell(marks, "size")),
    }


def _files(marks: Path) -> dict[str, Any]:
    """Return calls that write a file, or open another that runs code."""
    script, inner, numbers = marks / "inner.py", marks / "inner.pt", marks / "inner.npy"
    script.write_text(_code(marks, "runpy"))
    inner.write_bytes(saved(_shell(marks, "torch.load")))
    numbers.write_bytes(pickle.dumps(_shell(marks, "numpy.load")))
    load = functools.partial(torch.load, str(inner), weights_only=False)
    return {
        "torch.load": Calls(operator.call, load),
        "numpy.load": Calls(np.load, str(numbers), None, True),
        "runpy": Calls(runpy.run_path, str(script)),
        "open": Calls(open, str(marks / "open"), "w"),
        "copy": Calls(shutil.copy, str(script), str(marks / "copy")),
        "path": Calls(pathlib.Path.touch, marks / "path"),
    }


def _spellings(marks: Path) -> dict[str, bytes]:
    """Return the plain call in the ways in which a pickle can spell it."""

    def quoted(name: str) -> bytes:
        return b'S"' + _touch(marks, name).encode() + b'"\n'

    dotted = b"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93"
    spelled = {
        "text": b"cos\nsystem\n(" + quoted("text") + b"tR.",
        "inst": b"(" + quoted("inst") + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + quoted("obj") + b"o.",
        "dotted": dotted + quoted("dotted") + b"\x85R.",
        "popped": b"cos\nsystem\n(" + quoted("popped") + b"tR0}.",
        "noted": b"cos\nsystem\np0\n0g0\n(" + quoted("noted") + b"tR.",
        "duplicated": b"cos\nsystem\n2(" + quoted("duplicated") + b"tR.",
    }
    ordered = b"\x80\x02ccollections\nOrderedDict\n("
    spelled["newobj"] = ordered + b"cos\nsystem\n(" + quoted("newobj") + b"tRt\x81."
    later = {
        f"protocol {number}": pickled(_shell(marks, f"protocol {number}"), number)
        for number in (0, 1, 3, 4, 5)
    }
    return {name: archive(text) for name, text in (spelled | later).items()}


def _hidden(marks: Path) -> dict[str, bytes]:
    """Return the plain call in the parts of a checkpoint that nobody needs, and in other containers."""
    states = {"state_dict": weights(), "optimizer_states": [_shell(marks, "optimizer")]}
    settings = {"state_dict": weights(), "hyper_parameters": {"a": [1, (_shell(marks, "settings"),)]}}
    old = saved({"a": torch.ones(2), "b": _shell(marks, "old")}, _use_new_zipfile_serialization=False)
    packed = {"data.pkl": pickled(_shell(marks, "deflated")), "version": b"3\n"}
    return {
        "optimizer": saved(states),
        "settings": saved(settings),
        "old": old,
        "deflated": zipped(packed, zipfile.ZIP_DEFLATED),
        "plain pickle": pickled(_shell(marks, "plain pickle")),
    }
