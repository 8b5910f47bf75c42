"""The commands that register galleries, here or in a store of the user's own, and keep the latter up."""

from typing import Annotated, Any

import typer

from app.cli.client import Client
from app.cli.paths import path_to

Id = Annotated[str, typer.Argument(help="The id it was, or is to be, registered with.")]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]


def register_galleries(group: typer.Typer) -> None:
    """Adds the commands to those of galleries."""
    for name, command in (("register", register_gallery), ("follow", follow_store), ("drop", drop_generation)):
        group.command(name)(command)


def register_gallery(
    id: Id,
    model: Annotated[str, typer.Option(help="The model whose vectors it is filled with.")],
    side: Annotated[int | None, typer.Option(help="Dimension of the side-information stored with every row.")] = None,
    connection: Annotated[
        str | None, typer.Option(help="Where the items lie in a store of your own: the configured connection's name.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="There, the table, collection, index or file.")] = None,
    key: Annotated[
        str | None, typer.Option(help="The column of ids. [default: the key, where the store knows it]")
    ] = None,
    vector: Annotated[str | None, typer.Option(help="The column or field of vectors. [default: the only one]")] = None,
    text: Annotated[str | None, typer.Option(help="The column or field of texts that a model embeds.")] = None,
    image: Annotated[str | None, typer.Option(help="The same, of encoded images.")] = None,
    label: Annotated[str | None, typer.Option(help="The column or field of labels.")] = None,
    payload: Annotated[
        list[str] | None, typer.Option(help="Further columns or fields, each with its own --payload.")
    ] = None,
    max_writes_per_second: Annotated[int | None, typer.Option(help="Vectors that an upgrade writes, at most.")] = None,
    url: Url = None,
) -> None:
    """Registers a gallery; with --connection, one whose items stay in a store of your own."""
    body: dict[str, Any] = {"id": id, "model": model}
    if side is not None:
        body["side_information"] = {"dimension": side}
    store: dict[str, Any] = {
        "connection": connection,
        "collection": table,
        "id": key,
        "vector": vector,
        "text": text,
        "image": image,
        "label": label,
        "payload": payload or None,
        "max_writes_per_second": max_writes_per_second,
    }
    given = {name: value for name, value in store.items() if value is not None}
    if given:
        body["store"] = given
    Client(url).show("POST", "/galleries", json=body)


def follow_store(id: Id, url: Url = None) -> None:
    """Has transformed vectors in a store of your own catch up with the items there."""
    Client(url).show("POST", path_to("galleries", id, "follow"))


def drop_generation(
    id: Id, generation: Annotated[int, typer.Argument(help="One that the gallery left.")], url: Url = None
) -> None:
    """Removes vectors that an upgrade wrote into a store of your own, after it was rolled back."""
    Client(url).show("DELETE", path_to("galleries", id, "generations", str(generation)))
