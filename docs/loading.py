"""Write docs/loading.md: what can be loaded, what is refused, and the sentence for each.

`python docs/loading.py`; the models are those of tests/loading_table.py.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT / "tests")  # in place of this folder, whose doctor.py would hide tests/doctor

from loading_table import LOADED, REFUSED, Row, outcome  # noqa: E402 - the tests hold the models

PAGE = Path(__file__).with_name("loading.md")
INTRODUCTION = """\
# Loading a model

`clsight app PATH` and `clsight capture PATH --out FILE` in the terminal, `clsight.load(path)` in Python. The
path is a folder or a file on this machine; what it is, clsight tells from the names and the first bytes of
files. What a format needs beyond clsight comes with an extra: `pip install 'clsight[huggingface]'`, for
sentence-transformers too, `'clsight[timm]'` or `'clsight[open-clip]'`; a missing one is told when it is
needed. This page is written by `python docs/loading.py`.

| what you have | what you type | what is loaded |
|---|---|---|
"""
OWN = """
The same options exist in Python: `clsight.load("mine.pt", heads=4, norm="pre")`. A module in memory needs
no file: `clsight.capture(module, inputs)`, or, for the app and the doctor, `clsight.subject_of(module)`.
`--input` gives inputs of your own instead of examples, once for each sample, of the kind that the model
reads: text, or the path of a `.txt` file, whose whole text is one sample; the path of a picture; the path
of numbers as `.npy`, `.csv` or `.txt`, a row for each time step; token ids as text, or a file with a line
of them for each sample. What names a file that exists is that file; what only ends like one is refused.
Where a model returns no score for each class, its records have no answer: folders of transformers,
sentence-transformers, timm and open_clip say so themselves; of your own class you say it with
`--no-classifies`, in Python `classifies=False`. Where your own class runs several encoders, `--within NAME`
says which is meant, in Python `within=`.

## Weights without their class

A state dict holds weights under names, and nothing about what is computed with them. From names and shapes
clsight tells the layers of `nn.TransformerEncoder` or `nn.MultiheadAttention`, the tensor of [CLS], the
input (`nn.Linear`, `nn.Embedding`, `nn.Conv2d` for patches, or none), the positions, the norms and the
head, and puts a forward pass around them. What shapes do not tell, you state, or a config in the file does
(`hyper_parameters`, `config`, `args`):

| what | stated by | else |
|---|---|---|
| heads per layer | `--heads 4`; `nhead`, `num_heads`, ... in the file | asked for |
| norm before or after each part | `--norm pre`; `norm_first` in the file | assumed after, torch's default |
| activation | `--activation gelu`; `activation` in the file | assumed relu, torch's default |
| position of [CLS] | `--cls-index -1` | in front |
| whether the positions count [CLS] | patches: a square number decides | assumed to |

`provenance["inferred"]` and `provenance["assumed"]` say which is which. One sentence tells both and names
the tensors that were not used, but for an optimizer's: `clsight capture` prints it, the record keeps it,
`clsight show` and the app's Inspect page tell it with the map. Such a map is labeled "reconstructed
forward": exact for the forward pass that was put together, and only as true as what was assumed. A CLS
that your code draws or computes leaves no trace in the file, and whether it enters the
encoder at all only the class can show. So, where the class is at hand, pass it:

```bash
clsight app forum.pt --model mypackage.models:make_classifier
```

`make_classifier` is a class or function without arguments, imported with the current folder on the path,
and only if you name it there: no file and no browser can. Where it returns a trained module, the file may
be left out.

## What is refused

Only safetensors files are read, and torch files by `weights_only` after a look at the archive; a config
never chooses code, and nothing is fetched. Each refusal is one sentence with a next step.

| what you have | what you type | what you are told |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page; raise if a format does not meet its fate."""
    loaded = [_line(row, is_loaded=True) for row in LOADED]
    refused = [_line(row, is_loaded=False) for row in REFUSED]
    return INTRODUCTION + "".join(loaded) + OWN + "".join(refused)


def _line(row: Row, *, is_loaded: bool) -> str:
    """Return the line of the table for a format, loaded or refused as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        done, told = outcome(row, Path(folder))
    if done != is_loaded:
        raise RuntimeError(f"{row.what}: {told}")
    cell = told.replace("|", "\\|")
    return f"| {row.what} | `{row.command}` | {cell} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
