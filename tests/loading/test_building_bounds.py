"""A module is built only as far as its file's weights go, without memory, in this thread alone."""

import threading

import pytest
import torch
from torch import nn

from clsight.loading.building_bounds import TooLargeError, within_bounds


def test_a_module_within_bounds_is_built_without_memory():
    state = torch.random.get_rng_state()
    with within_bounds(tensors=2, numbers=20):
        made = nn.Linear(4, 4)
    assert made.weight.is_meta
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not nn.Linear(4, 4).weight.is_meta


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: nn.Linear(2**20, 2**20), "numbers"),
        (lambda: nn.ModuleList(nn.Linear(1, 1) for _ in range(10**9)), "more layers than its 2 tensors"),
        (lambda: nn.ModuleList(nn.Identity() for _ in range(10**6)), "more layers"),
        (lambda: [nn.Identity().register_buffer("table", torch.empty(2**40))], "tables"),
    ],
    ids=["wide", "deep", "empty", "tables"],
)
def test_a_module_out_of_bounds_is_refused_while_it_is_built(build, what):
    with pytest.raises(TooLargeError, match=what), within_bounds(tensors=2, numbers=20):
        build()
    nn.Linear(2000, 2000)  # not counted any more


def test_other_threads_are_not_counted():
    built = []

    def elsewhere():
        built.append(nn.Linear(3000, 3000))

    with within_bounds(tensors=1, numbers=1):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert not built[0].weight.is_meta
