"""A closed loop of HTTP requests over kept-alive connections: each sends its next request once it was answered.

Raw sockets in one thread, since the machine that is measured also runs this.
"""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Load:
    """Requests a second, and milliseconds from sending one to having its answer: median and 99th percentile."""

    rate: float
    p50: float
    p99: float

    @classmethod
    def of(cls, waits: Sequence[float], seconds: float) -> "Load":
        """Of the seconds that each request took, in so many seconds altogether."""
        ordered = sorted(waits)
        return cls(len(waits) / seconds, 1e3 * ordered[len(waits) // 2], 1e3 * ordered[int(0.99 * len(waits))])


@dataclass
class _Connection:
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def get(target: str) -> bytes:
    """The bytes of a request without a body."""
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(target: str, media_type: str, body: bytes) -> bytes:
    """The bytes of a request with a body."""
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Sends the requests in turn for so many seconds. Raises RuntimeError for an answer that is not 200, or none."""
    waits: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(opened, selectors.EVENT_READ, _Connection())
        keys = list(selector.get_map().values())
        began, sent = time.perf_counter(), 0
        try:
            for key in keys:
                sent = _send(key, requests, sent)
            while time.perf_counter() - began < seconds:
                for key, _ in selector.select(10):
                    connection: _Connection = key.data
                    if not (more := key.fileobj.recv(2**18)):  # type: ignore[union-attr]
                        raise RuntimeError("the server closed a connection")
                    connection.received += more
                    if whole(connection.received):
                        waits.append(time.perf_counter() - connection.sent_at)
                        connection.received.clear()
                        sent = _send(key, requests, sent)
            spent = time.perf_counter() - began
        finally:
            for key in keys:
                key.fileobj.close()  # type: ignore[union-attr]
    return Load.of(waits, spent)


def _send(key: selectors.SelectorKey, requests: Sequence[bytes], sent: int) -> int:
    key.data.sent_at = time.perf_counter()
    key.fileobj.sendall(requests[sent % len(requests)])  # type: ignore[union-attr]
    return sent + 1


def whole(received: bytearray, taken: Sequence[bytes] = (b"200",)) -> bool:
    """Whether an answer is there to its end. Raises RuntimeError where its status is not one of those `taken`."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(tuple(b"HTTP/1.1 %s " % status for status in taken)):
        raise RuntimeError(received.decode(errors="replace"))
    head = head.lower()
    start = head.index(_LENGTH) + len(_LENGTH)
    return len(body) >= int(head[start:].partition(b"\r\n")[0])
