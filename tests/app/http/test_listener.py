"""The gateway's socket: answers leave at once."""

import socket

import pytest

from app.http.listener import listen


def test_accepted_connections_do_not_wait_for_more_to_send() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.getpeername() == client.getsockname()


def test_a_port_that_is_taken_is_refused() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listener.getsockname()[1])
