"""Start a server command for a test, wait until it answers, and stop it whatever happens."""

import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120
STOP_SECONDS = 20


def free_port() -> int:
    """Return a port of this machine that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(command: Sequence[str], *, url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command until its address answers; interrupt it at the end as Ctrl+C would, and see it end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, **pipes) as process:
        try:
            wait_for(url, process)
            yield process
        finally:
            stop(process)


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    """Return when the address answers; raise with the command's own words when it ends or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {process.communicate()}")
        try:
            fetch(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} did not answer within {START_SECONDS} s")


def fetch(url: str) -> str:
    """Return the page at an address of this machine, past any proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=START_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def stop(process: subprocess.Popen[str]) -> None:
    """Interrupt a process; kill it when it does not end in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
