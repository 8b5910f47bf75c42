"""The client commands of evaluations: `crosswalk evaluations`."""

from typing import Annotated, Any

import typer

from app.cli.client import Client
from app.cli.paths import path_to

Id = Annotated[str, typer.Argument(help="The id that starting it printed.")]
Dataset = Annotated[str, typer.Argument(help="The dataset whose rows are evaluated.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="Only these: cmc@1, cmc@5, map, recall@10.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show progress until it ends, then the result.")]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]

evaluations = typer.Typer(help="How well one model's queries search another's vectors.", no_args_is_help=True)


@evaluations.command("start")
def start(
    dataset: Dataset,
    queries: Annotated[str, typer.Option(help="The model of the queries.")],
    gallery: Annotated[str | None, typer.Option(help="The model of the vectors searched.")] = None,
    gallery_id: Annotated[str | None, typer.Option(help="A gallery to search. [default: the dataset's rows]")] = None,
    via: Annotated[str | None, typer.Option(help="The upgrade whose crossing is applied. [default: newest]")] = None,
    against: Annotated[
        tuple[str, str] | None, typer.Option(help="Compare with these queries and gallery. [default: old self test]")
    ] = None,
    unconstrained: Annotated[str | None, typer.Option(help="The model new* of the update gain.")] = None,
    slices: Annotated[list[str] | None, typer.Option("--slice", help="label, or a field of the payload.")] = None,
    metrics: Metrics = None,
    follow: Follow = False,
    url: Url = None,
) -> None:
    """Measures one model's queries against another's vectors."""
    body: dict[str, Any] = {"dataset": dataset, "queries": queries, "gallery": gallery, "gallery_id": gallery_id}
    body |= {"via": via, "unconstrained": unconstrained, "slices": slices or [], "metrics": metrics or None}
    body |= {} if against is None else {"against": {"queries": against[0], "gallery": against[1]}}
    _start(body, follow, url)


@evaluations.command("judged")
def judged(
    dataset: Annotated[str, typer.Argument(help="The dataset whose judged queries are asked.")],
    queries: Annotated[str, typer.Option(help="The model of the queries.")],
    gallery: Annotated[str | None, typer.Option(help="The model of the vectors searched.")] = None,
    gallery_id: Annotated[str | None, typer.Option(help="A gallery to search. [default: the dataset's rows]")] = None,
    via: Annotated[str | None, typer.Option(help="The upgrade whose crossing is applied. [default: newest]")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="Only these: ndcg@10, mrr@10, recall@100, map and so on.")
    ] = None,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="Of the item that answers best: label, or a payload field.")
    ] = None,
    follow: Follow = False,
    url: Url = None,
) -> None:
    """Measures a search by the judged queries of a dataset, compared with the gallery model's own search."""
    body: dict[str, Any] = {"kind": "judged", "dataset": dataset, "queries": queries, "gallery": gallery}
    body |= {"gallery_id": gallery_id, "via": via} | ({"metrics": metrics} if metrics else {})
    body |= {"slices": slices} if slices else {}
    _start(body, follow, url)


@evaluations.command("chain")
def chain(
    dataset: Dataset,
    models: Annotated[list[str], typer.Argument(help="Versions in order of age, the oldest first.")],
    metrics: Metrics = None,
    follow: Follow = False,
    url: Url = None,
) -> None:
    """Measures every version's queries against its own vectors and those of every version before it."""
    _start({"dataset": dataset, "models": models} | ({"metrics": metrics} if metrics else {}), follow, url)


@evaluations.command("follow")
def follow(id: Id, url: Url = None) -> None:
    """Shows an evaluation's progress until it ends, then what was found."""
    _follow(Client(url), id)


def _start(body: dict[str, Any], followed: bool, url: str | None) -> None:
    client = Client(url)
    started = client.ask("POST", "/evaluations", json=body)
    typer.echo(started["id"])
    if followed:
        _follow(client, started["id"])


def _follow(client: Client, evaluation: str) -> None:
    client.follow(path_to("evaluations", evaluation))
    client.show("GET", path_to("evaluations", evaluation))
