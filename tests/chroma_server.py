"""Chroma's own server as a process on loopback, ended by whoever started it."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.noida_server import end_with_the_parent
from tests.services import free_port
from tests.waiting import wait_until


@contextmanager
def chroma_server() -> Iterator[str]:
    """The address of a server that runs while the context is open."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", folder, "--host", "127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_the_parent,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(url) or process.poll() is not None, "Chroma to answer or to end")
            assert process.poll() is None
            yield url
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/heartbeat", timeout=60).is_success
    except httpx.TransportError:
        return False
