"""A real S3 server over HTTP for tests: moto's, as a process of its own on loopback, ended by whoever started it.

It is an emulator, whose objects are in its memory, and does conditional writes as S3 does.
"""

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.services import free_port
from tests.waiting import wait_until


@dataclass(frozen=True)
class S3Server:
    """Where it listens."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What clients must have in theirs."""
        return client_environment(self.url)

    def bucket(self) -> str:
        """The URL of a folder in a new bucket."""
        return new_bucket(self.url)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/moto-api/", timeout=60):
            return True
        return False


def client_environment(url: str) -> dict[str, str]:
    """The variables by which clients find a server, and are let in."""
    return {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "never-to-be-logged",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
    }


def new_bucket(url: str) -> str:
    """Makes a bucket on a server, and returns the URL of a folder in it."""
    name = f"crosswalk-{uuid.uuid4().hex[:12]}"
    with urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", method="PUT"), timeout=60):
        return f"s3://{name}/service"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server, once it answers; gone at the context's end."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = S3Server(f"http://127.0.0.1:{port}")
        wait_until(server.answers, "the S3 server to answer")
        yield server
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
