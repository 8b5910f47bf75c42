"""The client commands: `crosswalk models`, `galleries`, `datasets`, `upgrades`, `evaluations`, `search`."""

from typing import Annotated

import typer

from app.cli.arguments import AS_ARGUMENTS, Id, Url
from app.cli.client import Client
from app.cli.datasets import datasets
from app.cli.doctor import doctor
from app.cli.evaluations import evaluations
from app.cli.galleries import galleries
from app.cli.items import register_items
from app.cli.models import models
from app.cli.one_command import upgrade_by_embedding
from app.cli.paths import path_to
from app.cli.searching import search_once
from app.cli.upgrades import upgrades


def register(commands: typer.Typer) -> None:
    """Adds every client command."""
    groups = {"models": models, "galleries": galleries, "datasets": datasets, "upgrades": upgrades}
    for name, group in (groups | {"evaluations": evaluations}).items():
        _listing(group, name)
        commands.add_typer(group, name=name)
    register_items(galleries)
    commands.command("search", context_settings=AS_ARGUMENTS)(search_once)
    commands.command()(doctor)
    commands.command("upgrade")(upgrade_by_embedding)


def _listing(group: typer.Typer, name: str) -> None:
    @group.command("list", help=f"Lists the {name}.")
    def list_(cursor: Annotated[str | None, typer.Option(help="Where to go on.")] = None, url: Url = None) -> None:
        Client(url).show("GET", f"/{name}", params={"cursor": cursor} if cursor else {})

    @group.command("show", help="Looks one up.")
    def show(id: Id, url: Url = None) -> None:
        Client(url).show("GET", path_to(name, id))

    @group.command("delete", help="Removes one.")
    def delete(id: Id, url: Url = None) -> None:
        Client(url).show("DELETE", path_to(name, id))
