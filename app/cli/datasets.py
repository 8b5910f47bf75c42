"""The client commands of datasets: rows to learn and evaluate from, and judged queries."""

from typing import Annotated

import typer

from app.cli.arguments import File, Id, Type, Url
from app.cli.client import Client
from app.cli.paths import path_to

datasets = typer.Typer(help="Rows to learn and evaluate from.", no_args_is_help=True)


@datasets.command("register")
def register_dataset(
    id: Id,
    side: Annotated[int | None, typer.Option(help="Dimension of the side-information stored with every row.")] = None,
    url: Url = None,
) -> None:
    """Registers a dataset."""
    beside = {} if side is None else {"side_information": {"dimension": side}}
    Client(url).show("POST", "/datasets", json={"id": id} | beside)


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
