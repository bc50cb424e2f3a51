"""What a user states about a model: a value that means nothing is refused before a file is opened."""

import pytest

from clsight.errors import CheckpointError
from clsight.loading import load
from clsight.loading.options import Options


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"norm": "prae"}, "`norm`: expected pre or post, but got 'prae'. Did you mean `pre`?"),
        ({"activation": "silu"}, "`activation`: expected relu or gelu, but got 'silu'."),
        ({"heads": "4"}, "`heads`: expected a whole number, but got '4'. Pass an int, or leave it out."),
        ({"heads": 2.0}, "`heads`: expected a whole number, but got 2.0."),
        ({"cls_index": True}, "`cls_index`: expected a whole number, but got True."),
    ],
)
def test_load_refuses_a_value_that_means_nothing(stated, message):
    with pytest.raises(CheckpointError) as caught:
        load("absent.pt", **stated)
    assert message in str(caught.value)


def test_options_name_what_was_stated():
    assert Options(heads=4, cls_index=0).stated() == {"heads": 4, "cls_index": 0}
    assert Options().stated() == {}
