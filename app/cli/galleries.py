"""The client commands of galleries: registered, here or in a store of the user's own, filled, re-embedded, switched."""

from typing import Annotated, Any

import typer

from app.cli.arguments import AS_ARGUMENTS, File, Id, Type, Url
from app.cli.client import Client
from app.cli.paths import path_to

galleries = typer.Typer(help="The items searched against.", no_args_is_help=True)


@galleries.command("register")
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


@galleries.command("follow")
def follow_store(id: Id, url: Url = None) -> None:
    """Has transformed vectors in a store of your own catch up with the items there."""
    Client(url).show("POST", path_to("galleries", id, "follow"))


@galleries.command("drop")
def drop_generation(
    id: Id, generation: Annotated[int, typer.Argument(help="One that the gallery left.")], url: Url = None
) -> None:
    """Removes vectors that an upgrade wrote into a store of your own, after it was rolled back."""
    Client(url).show("DELETE", path_to("galleries", id, "generations", str(generation)))


@galleries.command("put")
def put_items(
    id: Id,
    file: File,
    model: Annotated[str, typer.Option(help="The model that made the vectors.")],
    type: Type = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Even where the vectors do not look like that model's.")
    ] = False,
    url: Url = None,
) -> None:
    """Upserts the items of a file."""
    query = {"space": "unchecked"} if unchecked else {}
    Client(url).upload(path_to("galleries", id, "items"), file, type, model=model, **query)


@galleries.command("item", context_settings=AS_ARGUMENTS)
def show_item(
    id: Id, item: Annotated[str, typer.Argument(help="The item's id, whatever it holds.")], url: Url = None
) -> None:
    """Shows what is stored of an item."""
    Client(url).show("GET", path_to("galleries", id, "items", item))


@galleries.command("side-information")
def put_side_information(
    id: Id,
    file: File,
    dimension: Annotated[int | None, typer.Option(help="Needed once, by a gallery registered without.")] = None,
    type: Type = None,
    url: Url = None,
) -> None:
    """Stores side-information with items that are there."""
    query = {} if dimension is None else {"dimension": str(dimension)}
    Client(url).upload(path_to("galleries", id, "side-information"), file, type, **query)


@galleries.command("sample")
def sample(id: Id, n: Annotated[int, typer.Argument(help="How many items.")], url: Url = None) -> None:
    """Chooses which items to embed with the new model."""
    Client(url).show("GET", path_to("galleries", id, "sample"), params={"n": n})


@galleries.command("backfill")
def backfill(
    id: Id,
    limit: Annotated[int, typer.Option(help="How many items, at most.")] = 100,
    order: Annotated[
        str, typer.Option(help="uncertainty, traffic, random, class_mean_distance or old_model_poor.")
    ] = "uncertainty",
    url: Url = None,
) -> None:
    """Lists which transformed items to re-embed next, and what that is predicted to be worth."""
    Client(url).show("GET", path_to("galleries", id, "backfill"), params={"limit": limit, "order": order})


@galleries.command("re-embed")
def re_embed(
    id: Id,
    budget: Annotated[float | None, typer.Option(help="Most money that embedding may cost.")] = None,
    items: Annotated[int | None, typer.Option(help="Most items that are embedded.")] = None,
    order: Annotated[str, typer.Option(help="As of `backfill`.")] = "uncertainty",
    text: Annotated[str, typer.Option(help="The field of payloads with texts, or images as base64.")] = "text",
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it ends.")] = False,
    url: Url = None,
) -> None:
    """Re-embeds transformed items with the new model's embedder, the most useful first."""
    limits = {name: limit for name, limit in {"money": budget, "items": items}.items() if limit is not None}
    body: dict[str, Any] = {"order": order, "text": text} | ({"budget": limits} if limits else {})
    client = Client(url)
    started = client.ask("POST", path_to("galleries", id, "backfill"), json=body)
    typer.echo(started["id"])
    if follow:
        client.follow(path_to("galleries", id, "backfills", started["id"]))


@galleries.command("activate")
def activate_generation(id: Id, generation: int, url: Url = None) -> None:
    """Points a gallery at one of its generations."""
    Client(url).show("POST", path_to("galleries", id, "activate"), json={"generation": generation})
