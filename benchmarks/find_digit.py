"""Which attribution finds the digit? The sample model `find-digit`, on all its held-out scenes.

    python benchmarks/find_digit.py

Writes docs/tables/find_digit.md. The evidence is known: the patches with ink on them.
"""

import argparse
import sys

import numpy as np
import torch
import xarray as xr
from faithfulness_table import absent, markdown, write

import clsight
from clsight.faithfulness import ATTRIBUTIONS

SAMPLES = clsight.sample_models_dir()


def main() -> None:
    """Compare all attributions, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=360, help="how many of them, the first (default all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(SAMPLES))
    from find_digit import held_out_scenes

    scenes = held_out_scenes()
    inked = scenes.evidence.numpy()[: options.scenes]
    evidence = xr.DataArray(np.pad(inked, ((0, 0), (1, 0))), dims=("sample", "token"))
    table = clsight.faithfulness.compare(
        clsight.load(SAMPLES / "find-digit"),
        scenes.images.numpy()[: options.scenes],
        list(ATTRIBUTIONS),
        evidence=evidence,
    )
    patches = f"{inked.sum(1).mean():.1f} of {inked.shape[1]} patches"
    told = f"{len(inked)} held-out scenes, with ink on {patches} on average.\n\n"
    write("find_digit", told + markdown(table, by="auprc") + absent(table))


if __name__ == "__main__":
    main()
