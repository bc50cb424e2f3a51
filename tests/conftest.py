"""Fixtures that more than one test folder uses."""

import pytest

from browsers import advice, find_browser


@pytest.fixture(scope="session")
def browser_executable() -> str:
    """Return the path of a Chromium or Chrome; without one, fail with the sentence of `make test`."""
    path = find_browser()
    if path is None:
        pytest.fail(advice())
    return path
