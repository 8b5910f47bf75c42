"""`crosswalk keys`: makes and ends keys on the service's database, which needs no service, and no key to begin with."""

from pathlib import Path
from typing import Annotated

import typer

ServiceDir = Annotated[
    Path | None,
    typer.Option(help="The service's folder. [default: $CROSSWALK_DATA_DIR, or crosswalk-data]", show_default=False),
]
Id = Annotated[str, typer.Argument(help="What stands between cwk_ and the secret; `keys list` shows it.")]

keys = typer.Typer(help="Who may use the service. Works on its database, beside the service.", no_args_is_help=True)


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="Whose key it is, for people.")],
    scopes: Annotated[str, typer.Option(help="With commas between: search, write, upgrade, admin.")],
    galleries: Annotated[str | None, typer.Option(help="The only galleries that it sees, with commas between.")] = None,
    datasets: Annotated[str | None, typer.Option(help="With --galleries: the only datasets that it sees.")] = None,
    expires: Annotated[str | None, typer.Option(help="12h, 90d, 2w, 1y, or a date like 2030-12-31.")] = None,
    rate: Annotated[str | None, typer.Option(help="Most requests: 100/second.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Most requests at one time in one gateway.")] = None,
    data_dir: ServiceDir = None,
) -> None:
    """Makes a key and prints it: the only time that it is shown."""
    from app.cli.stored_keys import create, moment, names

    given = {
        "name": name,
        "scopes": names(scopes),
        "galleries": names(galleries),
        "datasets": names(datasets),
        "expires_at": moment("--expires", expires),
        "rate": rate,
        "concurrency": concurrency,
    }
    create(data_dir, given)


@keys.command("list")
def list_(data_dir: ServiceDir = None) -> None:
    """Lists the keys, those that have ended too; their secrets are not kept."""
    from app.cli.stored_keys import show_all

    show_all(data_dir)


@keys.command("revoke")
def revoke(id: Id, data_dir: ServiceDir = None) -> None:
    """Ends a key for good."""
    from app.cli.stored_keys import revoke

    revoke(data_dir, id)


@keys.command("rotate")
def rotate(
    id: Id,
    overlap: Annotated[str | None, typer.Option(help="How long both are taken: 1h, 7d. [default: no time]")] = None,
    data_dir: ServiceDir = None,
) -> None:
    """Makes a new key that may do what this one may, and ends this one."""
    from app.cli.stored_keys import moment, rotate

    rotate(data_dir, id, moment("--overlap", overlap))
