import numpy as np
import pytest
import xarray as xr

from clsight.errors import FigureError
from clsight.figures import attention_maps

WEIGHTS = xr.DataArray(
    np.random.default_rng(0).dirichlet(np.ones(5), (2, 3)),
    dims=("arm", "sample", "token"),
    coords={
        "arm": ["learned", "<img src=x>"],
        "sample": [0, 1, 2],
        "token_name": ("token", ["[CLS]", "a", "<b>", "d", "e"]),
        "label": ("sample", [4, 0, 2]),
    },
)


def test_maps_are_one_per_arm_on_one_scale():
    fig = attention_maps(WEIGHTS.transpose("token", "arm", "sample"), title="t")
    for place in range(2):
        np.testing.assert_array_equal(fig.data[place].z, WEIGHTS.values[place])
        assert fig.data[place].coloraxis == "coloraxis"
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (0, WEIGHTS.max())


def test_maps_name_arms_tokens_and_classes_literally():
    fig = attention_maps(WEIGHTS, title="<b>t</b>")
    assert [note.text for note in fig.layout.annotations] == ["learned", "&lt;img src=x&gt;"]
    assert list(fig.layout.xaxis2.ticktext) == ["[CLS]", "a", "&lt;b&gt;", "d", "e"]
    assert fig.data[0].text[1][2] == "sample 1, class 0, token &lt;b&gt;"


def test_maps_refuse_heads():
    with pytest.raises(FigureError, match=r"got dims \(head, arm, sample, token\). Average or select the ot"):
        attention_maps(WEIGHTS.expand_dims("head"), title="t")
