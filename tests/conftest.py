"""Fixtures that more than one test folder uses."""

import signal

import pytest
from hypothesis import settings

from browsers import advice, find_browser


@pytest.fixture(scope="session")
def browser_executable() -> str:
    """Return the path of a Chromium or Chrome; without one, fail with the sentence of `make test`."""
    path = find_browser()
    if path is None:
        pytest.fail(advice())
    return path


def pytest_configure() -> None:
    """Let servers that tests start hear Ctrl+C, which background jobs ignore; examples have no deadline.

    How long an example takes on a busy machine says nothing about it; pytest's own limit holds.
    """
    settings.register_profile("clsight", deadline=None)
    settings.load_profile("clsight")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
