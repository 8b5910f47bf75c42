"""The client commands of upgrades: started, followed, switched, and what they learned taken away."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.arguments import Id, Url
from app.cli.client import Client
from app.cli.gate import METRIC, REQUIREMENT, GateMetric, Require, gate_body
from app.cli.options import json_object
from app.cli.paths import path_to
from app.cli.starting import start_upgrade

upgrades = typer.Typer(help="From one model to another.", no_args_is_help=True)


@upgrades.command("start")
def start(
    source: Annotated[str, typer.Argument(help="The model to upgrade from.")],
    to: Annotated[str, typer.Option(help="The model to cross to.")],
    dataset: Annotated[str, typer.Option(help="Rows with vectors of the new model.")],
    gallery: Annotated[list[str] | None, typer.Option(help="Which galleries. [default: all in the old space]")] = None,
    method: Annotated[
        str, typer.Option(help="auto, orthogonal, ridge, low_rank, kernel_ridge, residual_mlp or fct.")
    ] = "auto",
    gate_metric: GateMetric = METRIC,
    require: Require = REQUIREMENT,
    manual: Annotated[bool, typer.Option("--manual", help="Stop at `ready`; switch later.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the report.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it settles.")] = False,
    url: Url = None,
) -> None:
    """Starts an upgrade to a model that there is already; `train` trains one."""
    body: dict[str, Any] = {"to": to, "dataset": dataset, "method": method, "dry_run": dry_run}
    body["gate"] = gate_body(gate_metric, require)
    start_upgrade(source, body, gallery, url, manual=manual, follow=follow)


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
    start_upgrade(source, body, gallery, url, manual=manual, follow=follow)


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
