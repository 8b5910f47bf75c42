"""What a connection of one kind may be given, checked when the service starts and told without its values."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from app.connections.file import ConfiguredConnection, WrongConnections


class ConnectionOptions(BaseModel):
    """Base of each kind's own options. A field is a key of the connection's table; neither errors nor the
    representation show what it holds, as it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(type(self).model_fields)})"

    __str__ = __repr__


Options = TypeVar("Options", bound=ConnectionOptions)


def checked_options(connection: ConfiguredConnection, options: type[Options]) -> Options:
    """The connection's keys as its kind's options. Raises WrongConnections, which names every key that is wrong."""
    try:
        return options.model_validate(dict(connection.options))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(_told(details) for details in wrong)
        raise WrongConnections(f"[{connection.name}] of the file of connections: {told}") from None


def refuse_unknown_kinds(connections: Mapping[str, ConfiguredConnection], kinds: Iterable[str]) -> None:
    """Raises WrongConnections for a connection of a kind that is not among `kinds`, and names these."""
    known = sorted(kinds)
    for connection in connections.values():
        if connection.kind not in known:
            raise WrongConnections(
                f"[{connection.name}] of the file of connections is of the kind {connection.kind!r}, which there is "
                f"not; there are {', '.join(known)}"
            )


def _told(details: Any) -> str:
    place = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        return f"{place} is no key of this kind"
    if details["type"] == "missing":
        return f"{place} is missing"
    reason = str(details["msg"]).removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason
