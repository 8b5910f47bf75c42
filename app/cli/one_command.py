"""`crosswalk upgrade`: from an old model to one with an embedder, in one command."""

from typing import Annotated, Any

import typer

from app.cli.gate import METRIC, REQUIREMENT, GateMetric, Require, gate_body
from app.cli.starting import start_upgrade


def upgrade_by_embedding(
    source: Annotated[str, typer.Argument(help="The model to upgrade from.")],
    to: Annotated[str, typer.Option(help="The model to cross to; it names an embedder.")],
    pairs: Annotated[int, typer.Option(help="How many items are chosen and embedded, to learn from.")] = 1000,
    gallery: Annotated[list[str] | None, typer.Option(help="Which galleries. [default: all in the old space]")] = None,
    text: Annotated[str, typer.Option(help="The field of payloads with texts, or images as base64.")] = "text",
    budget: Annotated[float | None, typer.Option(help="Most money that embedding may cost.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Most tokens that may be embedded.")] = None,
    budget_items: Annotated[int | None, typer.Option(help="Most texts that may be embedded.")] = None,
    gate_metric: GateMetric = METRIC,
    require: Require = REQUIREMENT,
    manual: Annotated[bool, typer.Option("--manual", help="Stop at `ready`; switch later.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the report.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until it settles.")] = False,
    url: Annotated[
        str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")
    ] = None,
) -> None:
    """Chooses and embeds items, learns a crossing from them, proves it, and switches: all in one command."""
    limits = {"money": budget, "tokens": budget_tokens, "items": budget_items}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    body: dict[str, Any] = {"to": to, "pairs": pairs, "text": text, "dry_run": dry_run}
    body["gate"] = gate_body(gate_metric, require)
    body |= {"budget": given} if given else {}
    start_upgrade(source, body, gallery, url, manual=manual, follow=follow)
