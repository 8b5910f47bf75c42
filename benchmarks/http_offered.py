"""An open loop of HTTP requests: sent when they are due, however many are not answered yet, as independent clients do.

Raw sockets in one thread, as in `http_load`. What a request took counts from when it was due.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.http_load import Load, whole

_PROBES_A_SECOND = 50
_LOOK_SECONDS = 0.002


@dataclass(frozen=True)
class Offered:
    """What became of the requests: those answered 200, how many were refused a second (429), and how the service
    answered what was asked beside them, over a connection of its own."""

    accepted: Load
    refused: float
    probes: Load | None


@dataclass
class _Sender:
    probing: bool = False
    due: float | None = None
    received: bytearray = field(default_factory=bytearray)


def offered(
    port: int, requests: Sequence[bytes], rate: float, connections: int, seconds: float, probe: bytes | None = None
) -> Offered:
    """Sends the requests in turn, `rate` a second, over so many connections at most; and `probe` beside them.

    Raises RuntimeError for an answer other than 200 and 429, or none.
    """
    waits: dict[bool, list[float]] = {False: [], True: []}
    refused, sent = 0, 0
    with selectors.DefaultSelector() as selector:
        for place in range(connections + (probe is not None)):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(opened, selectors.EVENT_READ, _Sender(probing=place == connections))
        keys = list(selector.get_map().values())
        idle = [key for key in keys if not key.data.probing]
        prober = next((key for key in keys if key.data.probing), None)
        began = now = time.perf_counter()
        probe_due = began
        try:
            while now - began < seconds:
                while idle and (due := began + sent / rate) <= now:
                    _send(idle.pop(), requests[sent % len(requests)], due)
                    sent += 1
                if prober is not None and prober.data.due is None and probe_due <= now:
                    _send(prober, probe or b"", probe_due)
                    probe_due += 1 / _PROBES_A_SECOND
                pause = _LOOK_SECONDS if not idle else min(_LOOK_SECONDS, began + sent / rate - now)
                for key, _ in selector.select(max(0.0, pause)):
                    sender: _Sender = key.data
                    if not (more := key.fileobj.recv(2**18)):  # type: ignore[union-attr]
                        if sender.due is not None:
                            raise RuntimeError("the server closed a connection that waits for an answer")
                        selector.unregister(key.fileobj)  # which was kept alive for long enough
                        idle.remove(key)
                        continue
                    sender.received += more
                    if not whole(sender.received, taken=(b"200", b"429")):
                        continue
                    if sender.received.startswith(b"HTTP/1.1 429"):
                        refused += 1
                    else:
                        waits[sender.probing].append(time.perf_counter() - (sender.due or 0.0))
                    sender.received.clear()
                    sender.due = None
                    if not sender.probing:
                        idle.append(key)
                now = time.perf_counter()
        finally:
            for key in keys:
                key.fileobj.close()  # type: ignore[union-attr]
    probes = Load.of(waits[True], now - began) if waits[True] else None
    return Offered(Load.of(waits[False], now - began), refused / (now - began), probes)


def _send(key: selectors.SelectorKey, request: bytes, due: float) -> None:
    key.data.due = due
    key.fileobj.sendall(request)  # type: ignore[union-attr]
