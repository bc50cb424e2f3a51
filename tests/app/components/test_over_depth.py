"""Curves over the layers: what can be drawn is drawn, what the record lacks is left out."""

from clsight.analysis import MEASURES
from clsight_app.components.over_depth import TITLES, over_depth
from hand_made import patch_record


def drawn(record):
    """Return the ids of the graphs."""
    *_, curves = over_depth(record, head=None, remark="a line for each head", dark=False)
    return [figure.children[1].id for figure in curves.children]


def test_every_curve_is_of_a_measure_with_one_number_per_layer_and_head():
    assert [MEASURES[name].dims for name in TITLES] == [("sample", "layer", "head")] * len(TITLES)


def test_curves_leave_out_what_the_record_lacks():
    record = patch_record(samples=1).record
    assert drawn(record) == ["curve-entropy", "curve-cls-self-attention", "curve-mean-attended-by"]
    assert drawn(record.drop_vars("attended_by")) == ["curve-entropy", "curve-cls-self-attention"]
