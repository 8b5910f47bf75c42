"""Applying a crossing that was taken away to a file of vectors. Needs no service, and imports nothing of one."""

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.applied_files import CannotApply, apply_to_file
from app.cli.ending import described, give_up, refuse
from models.portable import ArtifactError, NotPushable, PortableCrossing, load_crossing


def apply_crossing(
    artifact: Path, vectors: Path, out: Path, made_by: str | None, column: str | None, *, push: bool, force: bool
) -> None:
    """Writes the file, and says how much. Exits with another status than 0 where anything is wrong; then nothing is
    written."""
    if out.exists() and out.samefile(vectors):
        refuse(f"{out} is the file that is read: its own vectors would be lost. Name another.")
    if out.exists() and not force:
        refuse(f"{out} is there already. --force writes over it.")
    crossing = _loaded(artifact)
    console = Console(stderr=True)
    columns = (TextColumn("crossing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("crossing", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            applied = apply_to_file(crossing, vectors, out, made_by=made_by, column=column, push=push, progress=advance)
        except (CannotApply, ArtifactError, NotPushable) as error:
            give_up(f"{vectors}: {error} Nothing was written.")
        except OSError as error:
            give_up(f"{described(error)}. Nothing was written.")
    card = crossing.card
    if push:
        typer.echo(f"{applied.rows:,} queries of {card.target.model} for an index of {card.source.model}: {out}")
        return
    typer.echo(f"{applied.rows:,} vectors of {card.source.model} are vectors of {card.target.model} in {out}.")
    if applied.without_side:
        typer.echo(f"{applied.without_side:,} of them without side-information, which this crossing reads.", err=True)


def _loaded(artifact: Path) -> PortableCrossing:
    try:
        return load_crossing(artifact)
    except ArtifactError as error:
        refuse(f"{artifact} is no crossing that can be used: {error}.")
    except OSError as error:
        refuse(f"{described(error)}.")
