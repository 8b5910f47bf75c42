"""The client commands that list, export and change the items of a gallery."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Client
from app.cli.paths import path_to

Id = Annotated[str, typer.Argument(help="The gallery's id.")]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]
ShownFields = Annotated[
    str | None,
    typer.Option(help="label, payload, side_information: which, with commas between. [default: label,payload]"),
]
VectorsOf = Annotated[str | None, typer.Option(help="Show the vectors that this model made, too.")]

_ARROW = "application/vnd.apache.arrow.stream"


def register_items(galleries: typer.Typer) -> None:
    """Adds the commands to those of galleries."""
    galleries.command("items")(list_items)
    galleries.command("export")(export_items)


def list_items(
    id: Id,
    limit: Annotated[int, typer.Option(help="How many items, at most.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where to go on.")] = None,
    fields: ShownFields = None,
    vectors: VectorsOf = None,
    url: Url = None,
) -> None:
    """Lists the items of a gallery, a page at a time."""
    query = {"limit": limit, "cursor": cursor, "fields": fields, "vectors": vectors}
    Client(url).show("GET", path_to("galleries", id, "items"), params=_given(query))


def export_items(
    id: Id,
    out: Annotated[Path, typer.Option(help="The Arrow stream to write.", dir_okay=False)],
    fields: ShownFields = None,
    vectors: VectorsOf = None,
    url: Url = None,
) -> None:
    """Writes all items of a gallery, as they are at one moment, into a file that `put` takes back."""
    query = _given({"fields": fields, "vectors": vectors})
    Client(url).download(path_to("galleries", id, "items"), out, params=query, headers={"accept": _ARROW})


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
