"""What a fork server and its client say to each other: orders one way, births and deaths the other."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass

BORN, ENDED = b"b", b"e"
LONGEST_ORDER = 65_536  # bytes
_NEWS = struct.Struct("<cq")


@dataclass(frozen=True)
class ForkOrder:
    """A process to be forked: it runs the module `entry` as `python -m` would, with these arguments and, last, the
    fork server's pid. imports: modules that the fork server is to have imported by then."""

    entry: str
    arguments: tuple[str, ...]
    imports: tuple[str, ...]

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, data: bytes) -> ForkOrder:
        order = json.loads(data)
        return cls(order["entry"], tuple(order["arguments"]), tuple(order["imports"]))


def tell(pipe: int, what: bytes, number: int) -> None:
    """Writes that a process was `BORN`, with its pid, or has `ENDED`, with its exit status, in one piece. Raises
    BrokenPipeError where nobody listens any more."""
    os.write(pipe, _NEWS.pack(what, number))


def hear(pipe: int) -> tuple[bytes, int] | None:
    """The next of what was told, None where nothing more will be; waits for it."""
    data = os.read(pipe, _NEWS.size)
    return _NEWS.unpack(data) if data else None
