"""Serve the dashboard on this machine, after a look whether the port is free."""

import logging
import socket
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import waitress

from clsight.errors import AppError
from clsight_app.application import create_app
from clsight_app.catalog import Source
from clsight_app.jobs import Jobs

_THREADS = 8


def serve(
    models: Sequence[Path | Source],
    *,
    host: str = "127.0.0.1",
    port: int = 8050,
    open_browser: bool = False,
    roots: Sequence[Path] = (),
) -> None:
    """Serve the dashboard over these models until it is interrupted; prints its address.

    Args:
        models: Model folders or files that `clsight.load` takes, or sources with options; at least one.
        host: Address to listen on; the default answers this machine only.
        port: Port to listen on; 0 takes any free one.
        open_browser: Also open the address in the default browser.
        roots: Folders whose record files can be opened.

    Raises:
        AppError: The address cannot be listened on, or there is no model.
        CheckpointError: A model cannot be loaded.
    """
    with closing(Jobs()) as jobs, listen(host, port) as listener:
        server = server_of(models, listener, jobs=jobs, roots=roots)
        address = address_of(listener)
        click.echo(f"clsight is at {address} (stop it with Ctrl+C)")
        if open_browser:
            webbrowser.open(address)
        server.run()


def server_of(
    models: Sequence[Path | Source],
    listener: socket.socket,
    *,
    jobs: Jobs | None = None,
    roots: Sequence[Path] = (),
) -> Any:
    """Return a server of the dashboard on a bound socket; its `run()` serves until it is interrupted.

    Args:
        models: Model folders or files that `clsight.load` takes, or sources with options; at least one.
        listener: What `listen` returned.
        jobs: Does long work; see `create_app`.
        roots: Folders whose record files can be opened.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks several things at once
    return waitress.create_server(
        create_app(models, jobs=jobs, roots=roots).server, sockets=[listener], threads=_THREADS
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address of a host.

    Raises:
        AppError: The host is unknown, or the port is taken, out of range or not permitted.
    """
    if not 0 <= port < 2**16:
        raise _cannot_listen(host, port, OverflowError("a port is a number from 0 to 65535"))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # only now a second socket that may reuse the address is refused
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the address to type into a browser for a bound socket."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _cannot_listen(host: str, port: int, error: Exception) -> AppError:
    return AppError(
        f"{host}:{port}",
        expected="a free address of this machine",
        got=f"this: {getattr(error, 'strerror', None) or error}",
        next_step="Stop what listens there, or choose another port with --port",
    )
