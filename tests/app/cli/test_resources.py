"""The `crosswalk` command, as a user starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

import app
from tests.services import RedisServer
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(app.__file__).parent.parent
COMMAND = [sys.executable, "-m", "app.cli"]
IDLE_BYTES = 220 * 2**20
"""Of the process alone: 165 MiB were measured. How much of the libraries' files is resident besides, 65 to 160 MiB, is
the system's choice, which maps more of those that it holds in memory already."""


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=_environment(environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")} | more


@contextmanager
def _running(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on until it is told to stop; what it says goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=ROOT, env=_environment(environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the service says that it listens."""
    wait_until(lambda: "listens on" in log.read_text() or process.poll() is not None, "the service to start")
    match = re.search(r"listens on (\S+)", log.read_text())
    assert match, log.read_text()
    return match.group(1)


def test_the_service_serves_without_torch_or_scipy_in_little_memory_and_keeps_everything(tmp_path: Path) -> None:
    arguments = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    with _running(tmp_path / "log", *arguments) as process:
        address = _address(tmp_path / "log", process)
        assert f"{address}/docs" in (tmp_path / "log").read_text()
        with httpx.Client(base_url=address, timeout=PATIENCE_SECONDS) as client:
            assert client.get("/readyz").status_code == 200
            memory = psutil.Process(process.pid).memory_info()
            assert memory.rss - memory.shared < IDLE_BYTES
            _fill_and_search(client)
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "python" in loaded
        assert "torch" not in loaded
        assert "/scipy/" not in loaded
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
    with _running(tmp_path / "log", *arguments) as process:
        address = _address(tmp_path / "log", process)
        with httpx.Client(base_url=address, timeout=PATIENCE_SECONDS) as client:
            assert [model["id"] for model in client.get("/models").json()["items"]] == ["m"]
            assert client.get("/galleries/g").json()["items"] == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0


def _fill_and_search(client: httpx.Client) -> None:
    assert client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}).status_code == 201
    assert client.post("/galleries", json={"id": "g", "model": "m"}).status_code == 201
    items = [{"id": "right", "embedding": [1, 0]}, {"id": "up", "embedding": [0, 1]}]
    assert client.put("/galleries/g/items?model=m", json={"items": items}).status_code == 200
    answer = client.get("/search", params={"gallery": "g", "model": "m", "vector": "0.1,0.9", "k": 1})
    assert [result["id"] for result in answer.json()["results"]] == ["up"]


def test_a_port_in_use_is_told_plainly_and_nothing_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run("serve", "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_host_that_is_none_is_told_plainly(tmp_path: Path) -> None:
    done = _run("serve", "--host", "no.such.host.invalid", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "Cannot listen on no.such.host.invalid" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    done = _run("migrate", CROSSWALK_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "newest schema" in done.stdout
    assert (tmp_path / "data" / "crosswalk.db").exists()


def test_a_lone_worker_without_a_broker_says_what_to_set(tmp_path: Path) -> None:
    done = _run("worker", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "CROSSWALK_BROKER_URL" in done.stderr


def test_gateway_and_worker_run_apart(tmp_path: Path, redis_server: RedisServer, postgres_url: str) -> None:
    environment = {
        "CROSSWALK_DATA_DIR": str(tmp_path / "data"),
        "CROSSWALK_DATABASE_URL": postgres_url,
        "CROSSWALK_BROKER_URL": redis_server.url,
        "CROSSWALK_LOG_FORMAT": "json",
    }
    with (
        _running(tmp_path / "gateway", "serve", "--port", "0", **environment) as gateway,
        _running(tmp_path / "worker", "worker", **environment) as worker,
    ):
        with httpx.Client(base_url=_address(tmp_path / "gateway", gateway), timeout=PATIENCE_SECONDS) as client:
            assert client.get("/readyz").status_code == 200
            _fill_and_search(client)
            # Choosing a sample is work: only the worker can have done it.
            wait_until(lambda: client.get("/galleries/g/sample", params={"n": 1}).status_code == 200, "the worker")
        for process in (gateway, worker):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)
    events = [json.loads(line) for line in (tmp_path / "worker").read_text().splitlines()]
    assert "worker ready" in {event["event"] for event in events}


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_every_command_explains_itself(command: str) -> None:
    done = _run(command, "--help")
    assert done.returncode == 0
    assert "--data-dir" in done.stdout
