"""Embedding with a model that was trained here, away from the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Device = Literal["auto", "cpu", "cuda"]


def embed(artifact: Path, files: list[Path], out: Path, device: Device, batch: int, workers: int) -> None:
    """Embeds, and says how much. Exits with status 1 where anything is wrong; then nothing is written."""
    from workers.embedding import embed_files

    console = Console(stderr=True)
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _told_plainly(), Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("embedding", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        def remark(sentence: str) -> None:
            typer.echo(sentence, err=True)

        rows = embed_files(
            artifact, files, out, device=device, batch=batch, workers=workers, remark=remark, progress=advance
        )
    typer.echo(f"{rows:,} vectors are in {out}.")


def export(artifact: Path, out: Path) -> None:
    """Writes the graph, and says how well it agrees. Exits with status 1 where it cannot."""
    from workers.embedding import export as write

    with _told_plainly():
        difference = write(artifact, out)
    typer.echo(f"{out} agrees with PyTorch to {difference:.1e} of the largest component.")


@contextmanager
def _told_plainly() -> Iterator[None]:
    from workers.embedding import CannotEmbed

    try:
        yield
    except (CannotEmbed, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
