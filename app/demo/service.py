"""The demonstration's own servers: processes of their own, on loopback, which never outlive the demonstration."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType

import httpx

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120
_STOP_SECONDS = 30
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_ANOTHER = ("CROSSWALK_ADMIN_KEY", "CROSSWALK_STORAGE_URL", "CROSSWALK_CONNECTIONS")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl+C, SIGTERM and a closed terminal raise SystemExit in the block, so that what was begun is cleaned up.

    Once: while it is being cleaned up, further signals are ignored. One that was ignored before (nohup) stays so.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    heard = {each: signal.getsignal(each) for each in _ENDINGS if signal.getsignal(each) is not signal.SIG_IGN}
    for each in heard:
        signal.signal(each, leave)
    try:
        yield
    finally:
        for each, before in heard.items():
            signal.signal(each, before)


@contextmanager
def running_service(folder: Path, port: int | None, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Starts `crosswalk serve` with its data in the folder; yields its URL once it is ready; stops it at the end. more:
    variables of its environment."""
    port = port or _free_port()
    arguments = ["app.cli", "serve", "--host", _LOOPBACK, "--port", str(port), "--until-stdin-closes"]
    variables = {"CROSSWALK_DATA_DIR": str(folder / "data"), **more}
    with _running(arguments, port, "/readyz", folder / "service.log", variables) as url:
        yield url


@contextmanager
def running_embedder(folder: Path) -> Iterator[str]:
    """Starts MiniLM as an embedder, its log in the folder; yields its URL once it is ready; stops it at the end."""
    port = _free_port()
    with _running(["app.demo.minilm_server", str(port)], port, "/healthz", folder / "embedder.log", {}) as url:
        yield url


@contextmanager
def _running(arguments: Sequence[str], port: int, ready: str, log: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Runs a module with arguments in a process that listens on a port of loopback and has come up once it answers
    well to `ready`, a path; variables: what its environment has more than ours.

    It listens to a pipe that this process alone holds open: where this process is killed outright, the pipe is closed,
    and the server stops by itself.
    """
    url = f"http://{_LOOPBACK}:{port}"
    with log.open("w") as written:
        starting = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            env={**_without_keys(), **variables},
            start_new_session=True,  # A signal to the terminal's group is ours; we stop the server in good order.
        )
        with starting as process:
            try:
                _wait_until_ready(f"{url}{ready}", process, log)
                yield url
            finally:
                _stop(process)


def _without_keys() -> dict[str, str]:
    """Our environment without the key of another service, which the demonstration does not send, and without its
    object store and connections, into which it does not write."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_ANOTHER)}


def _stop(process: subprocess.Popen[bytes]) -> None:
    with _undisturbed():
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing that would end this process cuts the block short."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in _ENDINGS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _wait_until_ready(ready: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(ready).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"What should answer at {ready} did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
