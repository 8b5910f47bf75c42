"""What `crosswalk keys` does, on the database itself. A running service takes or refuses keys within a second."""

import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.ending import refuse
from app.cli.settings import missing_database, settings_or_end
from app.http.peers import is_loopback
from app.keys.schemas import CreatedKey, Key, NewKey
from app.keys.service import Keys
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate

_HEADINGS = (
    "id",
    "name",
    "scopes",
    "galleries",
    "datasets",
    "rate",
    "concurrency",
    "state",
    "created",
    "ends",
    "last used",
)
_PIPED_WIDTH = 10_000
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.0}


def create(data_dir: Path | None, given: Mapping[str, Any]) -> None:
    """Makes a key of what was given, a member for each of NewKey's, and prints it."""
    try:
        new = NewKey.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = "".join(str(step) for step in first["loc"][:1]).replace("expires_at", "expires")
        raise typer.BadParameter(first["msg"], param_hint=f"--{option}" if option else None) from None
    settings = settings_or_end(data_dir)
    made = "a new database, made just now" if missing_database(settings) else "the database"
    with _opened(settings) as service:
        opened = not service.valid().in_use
        _show(service.create(new))
    where = settings.data_dir.resolve() if settings.database_url is None else "CROSSWALK_DATABASE_URL"
    typer.echo(f"It is in {made} of {where}.", err=True)
    if opened:
        typer.echo("From now on every request needs a key. They are managed here, or by an admin's key.", err=True)


def show_all(data_dir: Path | None) -> None:
    """Prints a table of all keys."""
    with _opened(_of_a_service(data_dir)) as service:
        _print(_all(service))


def revoke(data_dir: Path | None, key: str) -> None:
    """Ends a key."""
    settings = _of_a_service(data_dir)
    with _opened(settings) as service:
        admin_left = service.revoke(key, even_last_admin=True)
    typer.echo(f"Key {key} is revoked: a running service refuses it within a second.")
    if not admin_left and not _admin_key(settings):
        typer.echo(
            "Warning: no admin's key is left, so nobody can manage keys over HTTP, and every request still needs one. "
            "`crosswalk keys create --name operator --scopes admin` makes another.",
            err=True,
        )


def rotate(data_dir: Path | None, key: str, until: datetime | None) -> None:
    """Makes a key in place of another, which ends at `until`, and prints it."""
    with _opened(_of_a_service(data_dir)) as service:
        _show(service.rotate(key, until))


def refuse_open_door(settings: Settings, host: str) -> None:
    """Ends the command where it would listen for other machines without a key being needed."""
    if _admin_key(settings) or _on_loopback(host):
        return
    with _opened(settings) as service:
        if service.valid().in_use:
            return
    typer.echo(
        f"Without keys, the service listens to its own machine alone, and {host} is reached from others. Make a key "
        f"first:\n  crosswalk keys create --data-dir {settings.data_dir} --name operator --scopes admin\n"
        "or give the service one: CROSSWALK_ADMIN_KEY=$(openssl rand -hex 32). Every request then needs a key.",
        err=True,
    )
    raise typer.Exit(1)


def _admin_key(settings: Settings) -> bool:
    """Whether the settings have an admin key; ends the command where it is none that can be used."""
    try:
        return settings.admin_secret() is not None
    except (ValueError, OSError) as error:
        typer.echo(f"The admin key cannot be used: {error}.", err=True)
        raise typer.Exit(1) from None


def _on_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True  # there is no such address: listening says so
    return all(is_loopback(str(address[4][0])) for address in found)


def _of_a_service(data_dir: Path | None) -> Settings:
    """The settings of a service that has a database; where there is none, the command ends."""
    settings = settings_or_end(data_dir)
    if missing := missing_database(settings):
        refuse(missing)
    return settings


@contextmanager
def _opened(settings: Settings) -> Iterator[Keys]:
    """The keys of a service, whose database is made or migrated where it must be."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.sqlalchemy_url)
    try:
        migrate(database)
        yield Keys(database)
    finally:
        database.close()


def _all(service: Keys) -> list[Key]:
    found: list[Key] = []
    while page := service.rows_after(found[-1].id if found else None, 1000):
        found += page
    return found


def _print(found: list[Key]) -> None:
    table = Table(box=None, pad_edge=False)
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            _bound(key.galleries, "all"),
            "" if key.galleries is None else _bound(key.datasets, "none"),
            key.rate or "",
            "" if key.concurrency is None else str(key.concurrency),
            key.state,
            _date(key.created_at),
            _date(min(filter(None, (key.expires_at, key.revoked_at)), default=None)),
            _date(key.last_used_at),
        )
        for key in found
    ]
    # Where no key has a rate of its own, say, no column is taken up by that.
    shown = [place for place, heading in enumerate(_HEADINGS) if place < 2 or any(row[place] for row in rows)]
    for place in shown:
        table.add_column(_HEADINGS[place], overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[place]) for place in shown))
    # What is piped is read by programs, a key on a line.
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def _bound(names: list[str] | None, unbound: str) -> str:
    return unbound if names is None else ", ".join(names)


def _show(created: CreatedKey) -> None:
    """The key alone on standard output, so that it can be piped into a secret store."""
    typer.echo(f"Key {created.id} ({created.name}). It is shown this once; only its hash is stored.", err=True)
    typer.echo(created.key)


def names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in map(str.strip, text.split(",")) if name]


def moment(option: str, text: str | None) -> datetime | None:
    """A length of time from now, or a date in UTC; ends the command where the option's text is neither, or past."""
    if text is None:
        return None
    if match := re.fullmatch(r"([1-9][0-9]{0,4})([hdwy])", text):
        return datetime.now(UTC) + timedelta(days=int(match[1]) * _DAYS[match[2]])
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        why = f"{text!r} is neither like 12h, 90d, 2w, 1y nor like 2030-12-31"
        raise typer.BadParameter(why, param_hint=option) from None
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    if end <= datetime.now(UTC):
        raise typer.BadParameter(f"{text} is past", param_hint=option)
    return end


def _date(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
