"""The client commands that list, export and change the items of a gallery."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Client
from app.cli.ending import refuse
from app.cli.files import FileType
from app.cli.options import json_object
from app.cli.paths import path_to

Id = Annotated[str, typer.Argument(help="The gallery's id.")]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]
ShownFields = Annotated[
    str | None,
    typer.Option(help="label, payload, side_information: which, with commas between. [default: label,payload]"),
]
VectorsOf = Annotated[str | None, typer.Option(help="Show the vectors that this model made, too.")]

OnlyItems = Annotated[
    str | None, typer.Option(help='Only those, as JSON: {"label": {"eq": "billing"}}; docs/search.md has more.')
]

_ARROW = "application/vnd.apache.arrow.stream"


def register_items(galleries: typer.Typer) -> None:
    """Adds the commands to those of galleries."""
    galleries.command("items")(list_items)
    galleries.command("export")(export_items)
    galleries.command("change", context_settings={"ignore_unknown_options": True})(change_item)
    galleries.command("change-many")(change_items)


def list_items(
    id: Id,
    limit: Annotated[int, typer.Option(help="How many items, at most.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where to go on.")] = None,
    fields: ShownFields = None,
    vectors: VectorsOf = None,
    filter: OnlyItems = None,
    url: Url = None,
) -> None:
    """Lists the items of a gallery, a page at a time."""
    query = {"limit": limit, "cursor": cursor, "fields": fields, "vectors": vectors, "filter": filter}
    Client(url).show("GET", path_to("galleries", id, "items"), params=_given(query))


def export_items(
    id: Id,
    out: Annotated[Path, typer.Option(help="The Arrow stream to write.", dir_okay=False)],
    fields: ShownFields = None,
    vectors: VectorsOf = None,
    filter: OnlyItems = None,
    url: Url = None,
) -> None:
    """Writes the items of a gallery, as they are at one moment, into a file that `put` takes back."""
    query = _given({"fields": fields, "vectors": vectors, "filter": filter})
    Client(url).download(path_to("galleries", id, "items"), out, params=query, headers={"accept": _ARROW})


def change_item(
    id: Id,
    item: Annotated[str, typer.Argument(help="The item's id, whatever it holds.")],
    label: Annotated[str | None, typer.Option(help="Its label from now on.")] = None,
    payload: Annotated[str | None, typer.Option(help="Its payload from now on, a JSON object.")] = None,
    clear_label: Annotated[bool, typer.Option("--clear-label", help="Take its label away.")] = False,
    clear_payload: Annotated[bool, typer.Option("--clear-payload", help="Take its payload away.")] = False,
    url: Url = None,
) -> None:
    """Changes an item's label or payload, and leaves its vectors as they are."""
    if (clear_label and label is not None) or (clear_payload and payload is not None):
        refuse("What is cleared is given no other value.")
    body = _given({"label": label, "payload": None if payload is None else json_object("payload", payload)})
    body |= {"label": None} if clear_label else {}
    body |= {"payload": None} if clear_payload else {}
    Client(url).show("PATCH", path_to("galleries", id, "items", item), json=body)


def change_items(
    id: Id,
    file: Annotated[
        Path,
        typer.Argument(help="A file such as `put` takes: id, and label or payload.", exists=True, dir_okay=False),
    ],
    type: Annotated[FileType | None, typer.Option(help="What the file is. [default: as it ends or begins]")] = None,
    url: Url = None,
) -> None:
    """Changes labels and payloads of the items of a file, and leaves their vectors as they are."""
    Client(url).upload(path_to("galleries", id, "items"), file, type, method="PATCH")


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
