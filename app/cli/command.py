"""The commands and their options; what they do is in the modules beside this one."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli import resources

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the database, store and indexes. [default: $CROSSWALK_DATA_DIR, or crosswalk-data]",
        file_okay=False,
        show_default=False,
    ),
]

commands = typer.Typer(
    help="Upgrades the embedding model behind a vector search without re-embedding the gallery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@commands.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes any that is free.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Serves the HTTP interface; in the embedded arrangement (no broker set) the worker too."""
    from app.cli.service import serve

    serve(host, port, data_dir)


@commands.command()
def worker(data_dir: DataDir = None) -> None:
    """Works for a service that shares this one's database, broker and data."""
    from app.cli.service import work

    work(data_dir)


@commands.command()
def migrate(data_dir: DataDir = None) -> None:
    """Brings the database to the newest schema. `serve` and `worker` do so too when they start."""
    from app.cli.service import migrate

    migrate(data_dir)


@commands.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service up at the end, until Ctrl+C.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of its service; any free one.")] = None,
) -> None:
    """Drives a whole upgrade over HTTP, on real data and a service of its own, and prints what was gained."""
    from app.demo.run import run

    raise typer.Exit(run(keep=keep, port=port))


def main() -> None:
    """The entry point that the package installs."""
    resources.register(commands)
    commands()
