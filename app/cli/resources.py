"""The client commands: `crosswalk models`, `galleries`, `datasets`, `upgrades`, `evaluations`, `search`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Client
from app.cli.evaluations import evaluations
from app.cli.files import FileType
from app.cli.galleries import register_galleries
from app.cli.items import register_items
from app.cli.one_command import upgrade_by_embedding
from app.cli.options import json_object
from app.cli.paths import path_to
from app.cli.searching import search_once

Id = Annotated[str, typer.Argument(help="The id it was, or is to be, registered with.")]
File = Annotated[
    Path,
    typer.Argument(
        help="Parquet, Arrow (file or stream; Feather), npz, JSON or a JSON object a line; each may be gzipped.",
        exists=True,
        dir_okay=False,
    ),
]
Type = Annotated[
    FileType | None, typer.Option(help="What the file is. [default: by its ending, or else by how it begins]")
]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]
Side = Annotated[int | None, typer.Option(help="Dimension of the side-information stored with every row.")]

models = typer.Typer(help="Which versions of embedding models there are.", no_args_is_help=True)
galleries = typer.Typer(help="The items searched against.", no_args_is_help=True)
datasets = typer.Typer(help="Rows to learn and evaluate from.", no_args_is_help=True)
upgrades = typer.Typer(help="From one model to another.", no_args_is_help=True)

_AS_ARGUMENTS = {"ignore_unknown_options": True}
"""Of commands whose arguments may begin with a minus: half of all vectors do, and an item's id may."""


def register(commands: typer.Typer) -> None:
    """Adds every client command."""
    groups = {"models": models, "galleries": galleries, "datasets": datasets, "upgrades": upgrades}
    for name, group in (groups | {"evaluations": evaluations}).items():
        _listing(group, name)
        commands.add_typer(group, name=name)
    register_galleries(galleries)
    register_items(galleries)
    commands.command("search", context_settings=_AS_ARGUMENTS)(search_once)
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


@models.command("register")
def register_model(
    id: Id,
    dimension: Annotated[int, typer.Option(help="Components of one of its vectors.")],
    metric: Annotated[str, typer.Option(help="cosine, l2 or ip.")] = "cosine",
    queries: Annotated[str, typer.Option(help="Embedded as documents are, `same`, or otherwise, `apart`.")] = "same",
    embedder: Annotated[
        str | None, typer.Option(help='What makes its vectors: a connection, or JSON: {"connection": "e5", "model": …}')
    ] = None,
    url: Url = None,
) -> None:
    """Registers a model version."""
    body: dict[str, Any] = {"id": id, "dimension": dimension, "metric": metric, "queries": queries}
    if embedder is not None:
        named = embedder.startswith("{")
        body["embedder"] = json_object("embedder", embedder) if named else {"connection": embedder}
    Client(url).show("POST", "/models", json=body)


@models.command("artifact")
def artifact(
    id: Id,
    out: Annotated[Path, typer.Option(help="Where to write it.", dir_okay=False)],
    url: Url = None,
) -> None:
    """Downloads a model that was trained here: weights, configuration and card, as a zip file."""
    Client(url).download(path_to("models", id, "artifact"), out)


@models.command("train-side-information")
def train_side_information(
    id: Id,
    encoder: Annotated[str, typer.Option("--id", help="The id of the encoder to be trained.")],
    architecture: Annotated[str, typer.Option(help="A preset, such as small-resnet or small-bert; or JSON.")],
    dataset: Annotated[str, typer.Option(help="Rows with an image or a text; labels are not looked at.")],
    dimension: Annotated[int, typer.Option(help="Components of its vectors.")] = 128,
    epochs: Annotated[int | None, typer.Option(help="How many, at most. [default: 40 of images, 10 of texts]")] = None,
    training: Annotated[str, typer.Option(help='More of how to train, as JSON: {"mirrored": false}.')] = "{}",
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it is trained.")] = False,
    url: Url = None,
) -> None:
    """Trains an encoder whose vectors are stored beside this model's."""
    body: dict[str, Any] = {
        "id": encoder,
        "dataset": dataset,
        "architecture": json_object("architecture", architecture) if architecture.startswith("{") else architecture,
        "dimension": dimension,
        "training": json_object("training", training) | ({} if epochs is None else {"epochs": epochs}),
    }
    client = Client(url)
    typer.echo(client.ask("POST", path_to("models", id, "side-information"), json=body)["id"])
    if follow:
        client.follow(path_to("models", encoder), "training")


@models.command("side-information")
def list_side_information(id: Id, url: Url = None) -> None:
    """Lists the encoders of side-information of a model."""
    Client(url).show("GET", path_to("models", id, "side-information"))


@models.command("cancel")
def cancel_training(id: Id, url: Url = None) -> None:
    """Stops the training of an encoder of side-information."""
    Client(url).show("POST", path_to("models", id, "cancel"))


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


@galleries.command("item", context_settings=_AS_ARGUMENTS)
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
    text: Annotated[str, typer.Option(help="The field of payloads that is embedded.")] = "text",
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


@datasets.command("register")
def register_dataset(id: Id, side: Side = None, url: Url = None) -> None:
    """Registers a dataset."""
    Client(url).show("POST", "/datasets", json={"id": id, **_side(side)})


@datasets.command("put")
def put_rows(id: Id, file: File, type: Type = None, url: Url = None) -> None:
    """Upserts the rows of a file."""
    Client(url).upload(path_to("datasets", id, "rows"), file, type)


@datasets.command("put-queries")
def put_queries(id: Id, file: File, type: Type = None, url: Url = None) -> None:
    """Upserts the judged queries of a file: id, relevant, and embedding.<model> for each model."""
    Client(url).upload(path_to("datasets", id, "queries"), file, type)


@datasets.command("put-judgements")
def put_judgements(
    id: Id,
    file: File,
    format: Annotated[str, typer.Option(help="How its lines are written: beir, qrels or clicks.")] = "beir",
    since: Annotated[str | None, typer.Option(help="Of clicks: earlier ones do not count. ISO 8601.")] = None,
    url: Url = None,
) -> None:
    """Says which items are relevant to queries, by a file of lines."""
    parameters = {"format": format} | ({} if since is None else {"since": since})
    headers, path = {"content-type": "text/plain"}, path_to("datasets", id, "queries", "judgements")
    Client(url).show("PUT", path, params=parameters, content=file.read_bytes(), headers=headers)


@upgrades.command("start")
def start(
    source: Annotated[str, typer.Argument(help="The model to upgrade from.")],
    to: Annotated[str, typer.Option(help="The model to cross to.")],
    dataset: Annotated[str, typer.Option(help="Rows with vectors of the new model.")],
    gallery: Annotated[list[str] | None, typer.Option(help="Which galleries. [default: all in the old space]")] = None,
    method: Annotated[
        str, typer.Option(help="auto, orthogonal, ridge, low_rank, kernel_ridge, residual_mlp or fct.")
    ] = "auto",
    manual: Annotated[bool, typer.Option("--manual", help="Stop at `ready`; switch later.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the report.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it settles.")] = False,
    url: Url = None,
) -> None:
    """Starts an upgrade to a model that there is already; `train` trains one."""
    body: dict[str, Any] = {"to": to, "dataset": dataset, "method": method, "dry_run": dry_run}
    _start(source, body, gallery, manual, follow, url)


@upgrades.command("train")
def train(
    source: Annotated[str, typer.Argument(help="The model that the new one is to be compatible with.")],
    to: Annotated[str, typer.Option(help="The id of the model to be trained.")],
    architecture: Annotated[str, typer.Option(help="A preset, such as resnet18 or small-bert; or JSON.")],
    dataset: Annotated[str, typer.Option(help="Rows with a label and an image or a text.")],
    dimension: Annotated[int | None, typer.Option(help="At least the old model's. [default: the backbone's]")] = None,
    gallery: Annotated[list[str] | None, typer.Option(help="Which galleries. [default: all in the old space]")] = None,
    method: Annotated[
        str, typer.Option(help="random_walk, averaged_normalised, averaged, trained, l2 or none.")
    ] = "random_walk",
    instance_weights: Annotated[
        bool, typer.Option("--instance-weights", help="Learn how far to trust each row; finds wrong labels.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="How many, at most. [default: 90]")] = None,
    training: Annotated[str, typer.Option(help='More of how to train, as JSON: {"learning_rate": 0.05}.')] = "{}",
    manual: Annotated[bool, typer.Option("--manual", help="Stop at `ready`; switch later.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the report.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it settles.")] = False,
    url: Url = None,
) -> None:
    """Trains a new model whose queries search the old model's galleries as they are."""
    model: dict[str, Any] = {
        "id": to,
        "architecture": json_object("architecture", architecture) if architecture.startswith("{") else architecture,
    }
    model |= {} if dimension is None else {"dimension": dimension}
    settings = json_object("training", training) | ({} if epochs is None else {"epochs": epochs})
    body: dict[str, Any] = {
        "strategy": "compatible",
        "to": model,
        "dataset": dataset,
        "method": method,
        "instance_weights": instance_weights,
        "training": settings,
        "dry_run": dry_run,
    }
    _start(source, body, gallery, manual, follow, url)


@upgrades.command("rows")
def rows(
    id: Id,
    order: Annotated[str, typer.Option(help="suspect_label, old_model_poor or outlier.")] = "suspect_label",
    limit: Annotated[int, typer.Option(help="How many, at most.")] = 100,
    url: Url = None,
) -> None:
    """Lists the rows that training a compatible model found suspicious."""
    Client(url).show("GET", path_to("upgrades", id, "rows"), params={"order": order, "limit": limit})


@upgrades.command("artifact")
def crossing(
    id: Id,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.", dir_okay=False)],
    format: Annotated[str, typer.Option(help="safetensors, with the card inside; card, as JSON; or onnx.")] = (
        "safetensors"
    ),
    url: Url = None,
) -> None:
    """Downloads the crossing of an upgrade that was accepted; `crosswalk apply` uses it without the service."""
    Client(url).download(path_to("upgrades", id, "artifact"), out, params={"format": format})


@upgrades.command("scores")
def scores(
    id: Id,
    old: Annotated[float | None, typer.Option(help="A score of the old model's search.")] = None,
    new: Annotated[float | None, typer.Option(help="Or one of the new model's search.")] = None,
    route: Annotated[
        str | None, typer.Option(help="transformed or instant. [default: as the upgrade is served]")
    ] = None,
    url: Url = None,
) -> None:
    """Translates a score, such as a threshold, from the old search to the new one or back."""
    given = {"old": old, "new": new, "route": route}
    query = {name: value for name, value in given.items() if value is not None}
    Client(url).show("GET", path_to("upgrades", id, "scores"), params=query)


@upgrades.command("follow")
def follow(id: Id, url: Url = None) -> None:
    """Shows an upgrade's progress until it settles."""
    Client(url).follow(path_to("upgrades", id))


@upgrades.command("activate")
def activate(id: Id, url: Url = None) -> None:
    """Switches to the new model."""
    Client(url).show("POST", path_to("upgrades", id, "activate"))


@upgrades.command("rollback")
def roll_back(id: Id, url: Url = None) -> None:
    """Goes back to the old model, at once."""
    Client(url).show("POST", path_to("upgrades", id, "rollback"))


@upgrades.command("cancel")
def cancel(id: Id, url: Url = None) -> None:
    """Stops an upgrade that is not active yet."""
    Client(url).show("POST", path_to("upgrades", id, "cancel"))


def doctor(
    gallery: Annotated[list[str] | None, typer.Option(help="Which galleries. [default: all that lie here]")] = None,
    url: Url = None,
) -> None:
    """Looks for vectors that are not of the model that they are stamped with; status 1 where there are some. What could
    not be judged is named on standard error."""
    client = Client(url)
    here = gallery or [one["id"] for one in client.listed("/galleries") if one["store"] is None]
    reports = [client.ask("GET", path_to("galleries", id, "doctor")) for id in here]
    typer.echo(json.dumps(reports, indent=2, ensure_ascii=False))
    for report in reports:
        for one in report["models"]:
            if not one["judged"]:
                typer.echo(f"Gallery {report['gallery']!r}, model {one['model']!r}: not judged.", err=True)
        if not report["models"]:
            typer.echo(f"Gallery {report['gallery']!r}: not judged, it holds no vectors.", err=True)
    if any(report["healthy"] is False for report in reports):
        raise typer.Exit(1)


def _side(dimension: int | None) -> dict[str, Any]:
    return {} if dimension is None else {"side_information": {"dimension": dimension}}


def _start(
    source: str, body: dict[str, Any], galleries: list[str] | None, manual: bool, follow: bool, url: str | None
) -> None:
    body |= {"galleries": galleries} if galleries else {}
    body |= {"activate": "manually"} if manual else {}
    client = Client(url)
    started = client.ask("POST", path_to("models", source, "upgrade"), json=body)
    typer.echo(started["id"])
    if follow:
        client.follow(path_to("upgrades", started["id"]))
