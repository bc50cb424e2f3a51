"""Does CLS gather in this head, or is it gathered from? The CLS row set against the CLS column."""

import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import is_cls, named, token_count, weights_of


@measure(
    question="Does CLS read the others in this head (−1), or do the others attend to CLS (+1)?",
    definition=(
        "(b − a)/(b + a): a = weight of CLS on the others over (n − 1)/n, b = mean weight of the others on "
        "CLS over 1/n; uniform weights give a = b = 1."
    ),
    unit="",
    range="−1 (aggregator: CLS reads, nobody attends to it) to 1 (sink or source: the reverse)",
    cost="O(tokens) per head; from the record",
    paper="",
    trust=(
        "At +1 CLS may be a sink (value near zero) or really be read: weights cannot tell, see value_norm or "
        "zero the value of CLS."
    ),
    needs=("attends_to", "attended_by", "token_mask"),
    dims=("sample", "layer", "head"),
)
def attends_to_vs_attended_by(record: xr.Dataset) -> xr.DataArray:
    """Return whether CLS is an aggregator (−1) or a sink or source (+1) in each head.

    Two lifts are compared, both 1 for uniform weights over n tokens: a, the weight that CLS puts on the other
    tokens over its uniform share (n − 1)/n; b, the mean weight that the others put on CLS over its uniform
    share 1/n. The result (b − a)/(b + a) is the hyperbolic tangent of half the logarithm of b/a.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.

    Returns:
        The dims of the record without `token`; in [−1, 1]. NaN where CLS has no other token, no column (class
        attention), or a and b are both 0: CLS sees itself alone and nobody else sees it.

    Raises:
        RecordError: If the record lacks row, column or mask, or its [CLS] position.
    """
    asked_by = "attends_to_vs_attended_by"
    count, is_other = token_count(record, asked_by=asked_by), ~is_cls(record, asked_by=asked_by)
    row = weights_of(record, "attends_to", asked_by=asked_by)
    column = weights_of(record, "attended_by", asked_by=asked_by)
    counts = is_other & record["token_mask"]
    reads = row.where(counts, 0.0).sum("token", skipna=False) * count / (count - 1)
    is_read = column.where(is_other).mean("token", skipna=True) * count
    role = ((is_read - reads) / (is_read + reads)).transpose(*(dim for dim in row.dims if dim != "token"))
    return named(
        role,
        asked_by,
        long_name="aggregator (−1) or sink or source (+1)",
        undefined="CLS has no other token or no column, or sees itself alone and is seen by nobody else",
    )
