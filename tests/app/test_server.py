"""Listening: a free port, a taken one, a foreign host; nothing is loaded before the port is checked."""

import socket
from pathlib import Path

import pytest

from clsight.errors import AppError
from clsight_app.server import address_of, listen, serve


def test_listen_takes_a_free_port_when_asked_for_any() -> None:
    with listen("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        assert address_of(listener) == f"http://127.0.0.1:{port}"


def test_serve_tells_when_the_port_is_taken_before_it_loads_a_model() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AppError) as told:
            serve([Path("no-such-model")], host="127.0.0.1", port=port, open_browser=False)
    assert str(told.value) == (
        f"`127.0.0.1:{port}`: expected a free address of this machine, but got this: Address already in use. "
        "Stop what listens there, or choose another port with --port."
    )


def test_listen_tells_when_this_process_listens_there_already() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(AppError, match="Address already in use"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("127.0.0.1", -1), ("host.invalid", 8050)])
def test_listen_tells_when_the_address_does_not_exist(host: str, port: int) -> None:
    with pytest.raises(AppError, match=f"`{host}:{port}`: expected a free address of this machine, but got "):
        listen(host, port)


def test_address_is_one_a_browser_takes_when_listening_everywhere() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
