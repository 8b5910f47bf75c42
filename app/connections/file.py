"""The file of connections: TOML, one table a connection.

    [faq-database]
    kind = "pgvector"
    url = "postgresql://reader:${FAQ_PASSWORD}@db.internal/faq"

A request names a connection, and never carries an address or a secret; no answer and no log line shows either.
`${NAME}` stands for an environment variable, so that the file itself need hold no secret.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.id_pattern import ID_PATTERN

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class WrongConnections(Exception):
    """The file cannot be used; what it says names the table and the key, and shows no value."""


@dataclass(frozen=True, repr=False)
class ConfiguredConnection:
    """One table of the file. Its representation leaves `options` out, which hold secrets."""

    name: str
    kind: str
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"ConfiguredConnection(name={self.name!r}, kind={self.kind!r})"


def read_connections(path: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, ConfiguredConnection]:
    """Every connection of the file, by its name; none where there is no file.

    Raises WrongConnections for a file that cannot be read, a table that is none, a name that no resource could have, a
    kind that is missing, and a variable that is not set.
    """
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongConnections(f"the file of connections {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongConnections(f"the file of connections {path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # it shows where, and no value
        raise WrongConnections(f"the file of connections {path} is not TOML: {error}") from None
    return {name: _connection(path, name, table, environment) for name, table in tables.items()}


def _connection(path: Path, name: str, table: Any, environment: Mapping[str, str]) -> ConfiguredConnection:
    if not isinstance(table, dict):
        raise WrongConnections(f"in {path}, {name!r} is no table: write [{name}], and its keys below")
    if not re.fullmatch(ID_PATTERN, name):
        raise WrongConnections(f"in {path}, the name {name!r} must match {ID_PATTERN}")
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise WrongConnections(f'in {path}, [{name}] has no kind, such as kind = "pgvector"')
    options = {
        key: _filled(value, f"in {path}, [{name}] {key}", environment) for key, value in table.items() if key != "kind"
    }
    return ConfiguredConnection(name, kind, options)


def _filled(value: Any, place: str, environment: Mapping[str, str]) -> Any:
    """The value with the environment's variables in place of their names."""
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        try:
            return environment[found[1]]
        except KeyError:
            raise WrongConnections(f"{place} needs the environment variable {found[1]}, which is not set") from None

    return _VARIABLE.sub(variable, value)
