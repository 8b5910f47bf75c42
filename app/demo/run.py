"""The demonstration itself: starts a service of its own, drives the upgrade, prints what was gained."""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from app.demo.digits import load
from app.demo.drive import GALLERY, NEW, OLD, RE_EMBEDDED, Accuracy, Driver
from app.demo.service import ended_by_signals, running_service

_FOLDER = "crosswalk-demo-"


def run(*, keep: bool, port: int | None) -> int:
    """Runs the demonstration; 0 where the upgrade was accepted and activated. `keep` leaves the service up.

    However it ends, by a signal too, the service is stopped and its folder removed.
    """
    console = Console(soft_wrap=True)
    began = time.monotonic()
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        console.print("Starting a service of its own…")
        with running_service(Path(folder), port) as url:
            console.print(f"Service at [bold]{url}[/]; its data is in {folder}, removed at the end.")
            console.print("Training two small models on scikit-learn's handwritten digits…")
            with httpx.Client(base_url=url, timeout=120) as client:
                upgrade = _upgrade(console, Driver(client, load()))
            console.print(f"All of it took {time.monotonic() - began:.0f} s.")
            if keep:
                with suppress(SystemExit):
                    console.print(f"Swagger UI: {url}/docs")
                    if upgrade is not None:
                        console.print(f"Report:     {url}/upgrades/{upgrade}/report")
                    console.print("The service stays up. Press Ctrl+C to stop it.")
                    signal.pause()
                console.print("Stopping the service and removing its data…")
            else:
                console.print("The service ends here; --keep leaves it up, with Swagger UI and the upgrade's report.")
    return 0 if upgrade is not None else 1


def _upgrade(console: Console, driver: Driver) -> str | None:
    """The id of the upgrade, once it is active; None where it ended otherwise."""
    console.print("Registering the models, filling the galleries, searching them…")
    driver.register()
    before, _ = driver.accuracy(GALLERY, OLD)
    best, _ = driver.accuracy(RE_EMBEDDED, NEW)
    console.print("Choosing the items that teach the crossing best…")
    pairs = driver.embed_sample()
    console.print(f"Embedded {pairs} chosen items with the new model; starting the upgrade.")
    upgrade = driver.upgrade()
    last = followed(console, driver.follow(upgrade))
    if last["state"] != "active":
        for recommended in ((last["report"] or {}).get("recommendation") or {}).values():
            console.print(recommended["sentence"], highlight=False)
        console.print(f"[red]The upgrade ended as {last['state']}: {last['reason']}[/]")
        return None
    after, route = driver.accuracy(GALLERY, NEW)
    driver.roll_back(upgrade)
    back, _ = driver.accuracy(GALLERY, OLD)
    driver.activate(upgrade)
    learned = last["report"]["learned"]
    proof = last["report"]["galleries"][GALLERY]
    items = proof["basis"]["gallery_rows"]
    console.print(f"[bold]{proof['recommendation']['sentence']}[/]", highlight=False)
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
        f"Predicted before the switch, on the {pairs} chosen items, each by what others taught: "
        f"{predicted['mean']:.1%} ({predicted['low']:.1%} to {predicted['high']:.1%}). The queries above are others."
    )
    console.print(
        f"{items - pairs} of {items} items were not re-embedded. Rolled back and forth: {back.mean:.1%} again."
    )
    return upgrade


def followed(console: Console, states: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Prints each state that an upgrade comes to, beside a running clock on a terminal; returns it as it ended."""
    began, last = time.monotonic(), dict[str, Any]()
    with console.status("") as clock:
        for now in states:
            seconds = f"{time.monotonic() - began:5.1f} s"
            if now["state"] != last.get("state"):
                console.print(f"  {seconds}  {now['state']}", highlight=False)
            progress = now["progress"]
            share = f"  {progress['done'] / progress['total']:4.0%}" if progress and progress["total"] else ""
            clock.update(f"{seconds}  {now['state']}{share}")
            last = now
    return last


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.low:.1%} to {accuracy.high:.1%}"
