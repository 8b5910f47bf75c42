"""How every command that starts an upgrade does so."""

from collections.abc import Sequence
from typing import Any

import typer

from app.cli.client import Client
from app.cli.paths import path_to


def start_upgrade(
    source: str, body: dict[str, Any], galleries: Sequence[str] | None, url: str | None, *, manual: bool, follow: bool
) -> None:
    """Starts an upgrade of the model `source` and prints its id. body: what is asked, but for the rest; galleries: None
    for all; manual: whether it stops at `ready`; follow: whether to show progress until it settles."""
    body |= {"galleries": galleries} if galleries else {}
    body |= {"activate": "manually"} if manual else {}
    client = Client(url)
    started = client.ask("POST", path_to("models", source, "upgrade"), json=body)
    typer.echo(started["id"])
    if follow:
        client.follow(path_to("upgrades", started["id"]))
