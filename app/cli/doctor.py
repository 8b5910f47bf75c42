"""`crosswalk doctor`: whether vectors are of the models that they are stamped with."""

import json
from typing import Annotated

import typer

from app.cli.arguments import Url
from app.cli.client import Client
from app.cli.paths import path_to


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
