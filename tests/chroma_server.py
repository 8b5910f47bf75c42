"""Chroma's own server as a process on loopback."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.loopback_server import loopback_server


@contextmanager
def chroma_server() -> Iterator[str]:
    """The address of a server that runs while the context is open."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", folder, "--host", "127.0.0.1"]
        with loopback_server(lambda port: [*command, "--port", str(port)], _answers) as url:
            yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/heartbeat", timeout=60).is_success
    except httpx.TransportError:
        return False
