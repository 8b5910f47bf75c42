"""The client command that searches with one query."""

from typing import Annotated, Any, Literal

import typer

from app.cli.client import Client, show
from app.cli.ending import refuse
from app.cli.vectors import fused_query_body, query_body

Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]


def search_once(
    gallery: Annotated[str, typer.Argument(help="Where to search.")],
    model: Annotated[str, typer.Option(help="The model that made the vector.")],
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="VECTOR",
            help="Numbers with commas between, or base64url of float32; @FILE reads either, a JSON list or an npy "
            "array from a file, and @- from standard input.",
            show_default=False,
        ),
    ] = None,
    vector: Annotated[
        str | None, typer.Option(help="The vector, where it is not given as an argument: --vector=@query.npy.")
    ] = None,
    old_vector: Annotated[
        str | None,
        typer.Option(help="The same query by the old model, given as VECTOR is: items are scored by both models."),
    ] = None,
    like: Annotated[str | None, typer.Option(help="An item's id, in the place of a vector: what is like it.")] = None,
    route: Annotated[
        str | None,
        typer.Option(help="instant, cascade, fused or reranked, where the gallery would answer by another."),
    ] = None,
    k: Annotated[int, typer.Option(help="How many items, or groups, to find.")] = 10,
    min_score: Annotated[float | None, typer.Option(help="Only items of at least this score.")] = None,
    max_distance: Annotated[float | None, typer.Option(help="Under l2: only items at most this far away.")] = None,
    with_vectors: Annotated[bool, typer.Option("--with-vectors", help="Show the items' vectors.")] = False,
    group_by: Annotated[Literal["label"] | None, typer.Option(help="The nearest labels, each with its items.")] = None,
    group_size: Annotated[int | None, typer.Option(help="How many items each group has. [default: 3]")] = None,
    filter: Annotated[
        str | None,
        typer.Option(help='Which items may be found, as JSON: {"label": {"eq": "billing"}}; docs/search.md has more.'),
    ] = None,
    url: Url = None,
) -> None:
    """Searches with one query."""
    if (given is None) + (vector is None) + (like is None) != 2:
        refuse("Give one vector, as the second argument or with --vector; or, with --like, an item's id.")
    asked: dict[str, Any] = {"gallery": gallery, "model": model, "route": route, "k": k, "filter": filter}
    asked |= {"min_score": min_score, "max_distance": max_distance, "with_vectors": with_vectors or None}
    asked |= {"group_by": group_by, "group_size": group_size}
    parameters: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if like is not None:
        if old_vector is not None:
            refuse("An item has its own old vector: leave --old-vector out.")
        Client(url).show("GET", "/search", params=parameters | {"like": like})
        return
    query = str(given if vector is None else vector)
    if old_vector is None:
        body, headers = query_body(query), {"content-type": "application/x-npy"}
    else:
        body, headers = fused_query_body(query, old_vector), {"content-type": "application/x-npz"}
    # A body, and not the URL: a vector of any length fits there.
    answer = Client(url).ask("POST", "/search", params=parameters, content=body, headers=headers)
    member = "results" if group_by is None else "groups"
    show(answer | {member: answer[member][0]})
