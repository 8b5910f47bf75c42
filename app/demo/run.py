"""The demonstration itself: starts a service of its own, drives the upgrade, prints what was gained."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from app.demo.digits import load
from app.demo.drive import GALLERY, NEW, OLD, RE_EMBEDDED, Accuracy, Driver

_START_SECONDS = 60


def run(*, keep: bool, port: int | None) -> int:
    """Runs the demonstration; 0 where the upgrade was accepted and activated. `keep` leaves the service up."""
    console = Console()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crosswalk-demo-") as folder, _service(Path(folder), port) as url:
        console.print(f"Service at [bold]{url}[/]; its data is in {folder}, removed at the end.")
        with httpx.Client(base_url=url, timeout=120) as client:
            accepted = _upgrade(console, Driver(client, load()), url)
        console.print(f"All of it took {time.monotonic() - began:.0f} s.")
        if keep:
            console.print("The service stays up. Press Ctrl+C to stop it.")
            with _until_interrupted():
                signal.pause()
    return 0 if accepted else 1


def _upgrade(console: Console, driver: Driver, url: str) -> bool:
    driver.register()
    before, _ = driver.accuracy(GALLERY, OLD)
    best, _ = driver.accuracy(RE_EMBEDDED, NEW)
    pairs = driver.embed_sample()
    console.print(f"Embedded {pairs} chosen items with the new model; starting the upgrade.")
    began = time.monotonic()
    upgrade = driver.upgrade()
    last = {}
    for last in driver.follow(upgrade):
        console.print(f"  {time.monotonic() - began:5.1f} s  {last['state']}", highlight=False)
    if last["state"] != "active":
        console.print(f"[red]The upgrade ended as {last['state']}: {last['reason']}[/]")
        return False
    after, route = driver.accuracy(GALLERY, NEW)
    driver.roll_back(upgrade)
    back, _ = driver.accuracy(GALLERY, OLD)
    driver.activate(upgrade)
    learned = last["report"]["learned"]
    proof = last["report"]["galleries"][GALLERY]
    items = proof["basis"]["gallery_rows"]
    table = Table(title="First answer is the same digit, 400 queries that no model was trained on")
    for heading in ("queries", "gallery", "right", "95 % interval", "items re-embedded"):
        table.add_column(heading, justify="left" if heading in ("queries", "gallery") else "right")
    for queries, gallery, accuracy, embedded in (
        ("old model", "old model", before, "0"),
        ("new model", f"h(old), {route}", after, str(pairs)),
        ("new model", "new model", best, str(items)),
    ):
        table.add_row(queries, gallery, f"{accuracy.mean:.1%}", _interval(accuracy), embedded)
    console.print(table)
    predicted = next(m for m in proof["metrics"] if m["metric"] == "cmc@1")["cross"]
    console.print(
        f"Method chosen: {learned['method']}"
        f"{' with side-information' if learned['uses_side_information'] else ''}. "
        f"Predicted before the switch: {predicted['mean']:.1%} ({predicted['low']:.1%} to {predicted['high']:.1%})."
    )
    console.print(
        f"{items - pairs} of {items} items were not re-embedded. Rolled back and forth: {back.mean:.1%} again."
    )
    console.print(f"Swagger UI: {url}/docs")
    console.print(f"Report:     {url}/upgrades/{upgrade}/report")
    return True


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.low:.1%} to {accuracy.high:.1%}"


@contextmanager
def _service(folder: Path, port: int | None) -> Iterator[str]:
    """A service in a process of its own, on loopback, stopped at the end."""
    address = ("127.0.0.1", port or _free_port())
    url = f"http://{address[0]}:{address[1]}"
    command = [sys.executable, "-m", "app.cli", "serve", "--host", address[0], "--port", str(address[1])]
    with (folder / "service.log").open("w") as log:
        environment = {**os.environ, "CROSSWALK_DATA_DIR": str(folder / "data")}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_until_ready(url, process, folder / "service.log")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"The service did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _until_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        return
