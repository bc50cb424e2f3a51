"""Fixtures that more than one test folder uses."""

import signal

import pytest

from browsers import advice, find_browser


@pytest.fixture(scope="session")
def browser_executable() -> str:
    """Return the path of a Chromium or Chrome; without one, fail with the sentence of `make test`."""
    path = find_browser()
    if path is None:
        pytest.fail(advice())
    return path


def pytest_configure() -> None:
    """Let the servers that tests start hear Ctrl+C, which a shell's background jobs ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
