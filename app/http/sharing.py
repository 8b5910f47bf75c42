"""A server on a socket that other processes accept from too, which shares the connections with them evenly.

Left to the event loop, whichever process wakes first takes most of the connections that come together, as those of a
client's pool do, and keeps them for as long as they live.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog
import uvicorn

from app.memory import rare_collections

NOBODY = 2**31 - 1
"""The load of a process that takes no connections: it has not started yet, or is no more."""

_LEAVE_SECONDS = 0.001
_OUT_OF_FILES_SECONDS = 0.5

log = structlog.get_logger(__name__)


class ConnectionLoads:
    """How many connections each of several processes has, in memory that they share: a file that all of them map."""

    def __init__(self, path: Path) -> None:
        """path: as `create` has made it."""
        with path.open("r+b") as file:
            self._counts = np.frombuffer(mmap.mmap(file.fileno(), 0), np.int32)

    @classmethod
    def create(cls, path: Path, processes: int) -> "ConnectionLoads":
        """Of processes of which none has started."""
        path.write_bytes(np.full(processes, NOBODY, np.int32).tobytes())
        return cls(path)

    def tell(self, place: int, count: int) -> None:
        """Says how many one of the processes has."""
        self._counts[place] = count

    def others_have_fewer(self, place: int) -> bool:
        """Whether some other process has fewer than this one."""
        return bool(self._counts.min() < self._counts[place])


class SharingServer(uvicorn.Server):
    """Takes one connection at a time, and leaves the first chance to the processes that have fewer."""

    def __init__(self, config: uvicorn.Config, loads: ConnectionLoads, place: int) -> None:
        super().__init__(config)
        self._loads = loads
        self._place = place
        self._listeners: list[socket.socket] = []
        self._taking: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        rare_collections()
        for listener in sockets or ():
            listener.setblocking(False)
            self._listeners.append(listener)
            self._listen(listener)
        self._tell()

    async def on_tick(self, counter: int) -> bool:
        self._tell()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._loads.tell(self._place, NOBODY)
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
        self._listeners.clear()
        if self._taking:
            await asyncio.wait(self._taking)
        await super().shutdown(sockets)

    def _listen(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._asked, listener)

    def _asked(self, listener: socket.socket) -> None:
        """Somebody wants to connect, which every process hears."""
        self._tell()
        if self._loads.others_have_fewer(self._place):
            self._later(listener, _LEAVE_SECONDS, self._take)
        else:
            self._take(listener)

    def _take(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if listener not in self._listeners:
            return
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # Another process has taken it, or the client has gone.
            self._listen(listener)
            return
        except OSError as error:
            log.warning("cannot take a connection; trying again", error=repr(error))
            self._later(listener, _OUT_OF_FILES_SECONDS, self._listen)
            return
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._taking.add(task)
        task.add_done_callback(self._taken)
        self._tell()
        self._listen(listener)

    def _later(self, listener: socket.socket, seconds: float, do: Callable[[socket.socket], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, do, listener)

    def _protocol(self) -> asyncio.Protocol:
        """Answers one connection, as uvicorn has it made."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _taken(self, task: "asyncio.Task[object]") -> None:
        self._taking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a connection was lost as it was taken", error=repr(error))

    def _tell(self) -> None:
        if self._listeners:
            self._loads.tell(self._place, len(self.server_state.connections) + len(self._taking))
