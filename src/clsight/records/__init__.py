"""Records: the labeled arrays that hold what a capture saw, checked, saved, opened, joined and compared.

A record is an `xarray.Dataset` in the schema of `clsight.records.checking`. This package needs no torch: a
saved record can be analyzed and drawn on a machine that never ran the model.
"""

from clsight.records.checking import check, need
from clsight.records.joining import concat, stack
from clsight.records.sameness import check_same_inputs
from clsight.records.storing import open_record, save_record

__all__ = ["check", "check_same_inputs", "concat", "need", "open_record", "save_record", "stack"]
