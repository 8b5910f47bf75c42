"""noida-db, which speaks Elasticsearch's protocol, as a process of its own on loopback, ended by whoever started it."""

import ctypes
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from elasticsearch import Elasticsearch

from tests.services import free_port
from tests.waiting import wait_until

_PR_SET_PDEATHSIG = 1


@contextmanager
def noida_server() -> Iterator[str]:
    """The address of a server that runs while the context is open."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(files("noida_db") / "noida-db"), "start", "--data-dir", folder, "--only", "elasticsearch"]
        process = subprocess.Popen(
            [*command, "--elasticsearch-port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_the_parent,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with Elasticsearch(url, max_retries=0) as client:
                wait_until(lambda: client.ping() or process.poll() is not None, "noida-db to answer or to end")
            assert process.poll() is None
            yield url
        finally:
            process.kill()
            process.wait()


def end_with_the_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
