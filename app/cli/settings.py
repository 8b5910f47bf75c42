"""The settings of a command that works on the service's own data, read in one way by all of them."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.cli.ending import give_up
from app.settings import Settings

_MAY_HOLD_SECRETS = {"admin_key", "admin_key_file", "database_url", "broker_url", "storage_url"}


def settings_or_end(data_dir: Path | None) -> Settings:
    """The settings, with the folder that the command was given; one that cannot be used ends the command.

    What is printed shows no value that may hold a secret, and no settings as a whole.
    """
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        if not wrong["loc"]:
            give_up(f"The settings cannot be used: {wrong['msg']}.")
        name = "_".join(map(str, wrong["loc"]))
        shown = "" if wrong["loc"][0] in _MAY_HOLD_SECRETS else f" It is {wrong['input']!r}."
        give_up(f"CROSSWALK_{name.upper()}: {wrong['msg']}.{shown}")
    try:
        make_url(settings.sqlalchemy_url).get_dialect()
    except (ArgumentError, ValueError, ImportError) as error:
        # The error's own words are left out: they may quote the URL, and with it its password.
        give_up(f"CROSSWALK_DATABASE_URL is no URL of a database that can be used: {type(error).__name__}.")
    return settings


def missing_database(settings: Settings) -> str | None:
    """What to say where there is no database: a command that looks must not make an empty one in a wrong folder."""
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() != "sqlite" or Path(str(url.database)).is_file():
        return None
    return f"There is no database {url.database}. Name the service's folder with --data-dir."
