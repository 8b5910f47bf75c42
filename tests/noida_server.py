"""noida-db, which speaks Elasticsearch's protocol, as a process of its own on loopback."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from elasticsearch import Elasticsearch

from tests.loopback_server import loopback_server


@contextmanager
def noida_server() -> Iterator[str]:
    """The address of a server that runs while the context is open."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(files("noida_db") / "noida-db"), "start", "--data-dir", folder, "--only", "elasticsearch"]
        with loopback_server(lambda port: [*command, "--elasticsearch-port", str(port)], _answers) as url:
            yield url


def _answers(url: str) -> bool:
    with Elasticsearch(url, max_retries=0) as client:
        return bool(client.ping())
