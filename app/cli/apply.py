"""Applying a crossing that was taken away to a file of vectors. Needs no service, and imports nothing of one."""

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.applied_files import CannotApply, apply_to_file
from app.cli.ending import described, give_up, refuse
from app.demo.service import ended_by_signals
from models.portable import ArtifactError, NotPushable, PortableCrossing, load_crossing


def apply_crossing(
    artifact: Path, vectors: Path, out: Path, made_by: str | None, column: str | None, *, push: bool, force: bool
) -> None:
    """Writes the file, and says how much. Where anything is wrong, nothing is written, and it exits: with 2 for an
    artifact, a file or options that are wrong, with 1 where a file cannot be read or written to its end, and with 128
    and the signal's number where one ends it."""
    _refuse_losing(artifact, vectors, out, force=force)
    crossing = _loaded(artifact)
    console = Console(stderr=True)
    columns = (TextColumn("crossing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ended_by_signals(),
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
    ):
        task = bar.add_task("crossing", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            applied = apply_to_file(crossing, vectors, out, made_by=made_by, column=column, push=push, progress=advance)
        except (CannotApply, ArtifactError, NotPushable) as error:
            refuse(f"{vectors}: {error} Nothing was written.")
        except OSError as error:
            give_up(f"{described(error)}. Nothing was written.")
    card = crossing.card
    if push:
        typer.echo(f"{applied.rows:,} queries of {card.target.model} for an index of {card.source.model}: {out}")
        return
    typer.echo(f"{applied.rows:,} vectors of {card.source.model} are vectors of {card.target.model} in {out}.")
    if applied.without_side:
        typer.echo(f"{applied.without_side:,} of them without side-information, which this crossing reads.", err=True)


def _refuse_losing(artifact: Path, vectors: Path, out: Path, *, force: bool) -> None:
    """Ends the command where what would be written takes the place of what is there and is not to be lost."""
    if not out.exists():
        return
    if out.samefile(vectors):
        refuse(f"{out} is the file that is read: its own vectors would be lost. Name another.")
    if out.samefile(artifact):
        refuse(f"{out} is the crossing, which would be lost. Name another.")
    if not out.is_file():
        refuse(f"{out} is no file, such as --force writes over. Name another.")
    if not force:
        refuse(f"{out} is there already. --force writes over it.")


def _loaded(artifact: Path) -> PortableCrossing:
    try:
        return load_crossing(artifact)
    except ArtifactError as error:
        refuse(f"{artifact} is no crossing that can be used: {described(error)}.")
    except OSError as error:
        give_up(f"{described(error)}.")
