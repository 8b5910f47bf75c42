"""The client commands of models, of those that are trained here, and of encoders of side-information."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.arguments import Id, Url
from app.cli.client import Client
from app.cli.options import json_object
from app.cli.paths import path_to

models = typer.Typer(help="Which versions of embedding models there are.", no_args_is_help=True)


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
