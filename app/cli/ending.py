"""How a command ends that cannot do what it was asked to: one line on stderr, and a status that is not 0."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import httpx
import typer

_REFUSED, _FAILED = 2, 1
_LONGEST = 500
"""Characters that are shown of an exception, which may repeat a file."""


def refuse(message: str) -> NoReturn:
    """Ends the command because of what it was given. Nothing was asked of the service."""
    _end(message, _REFUSED)


def give_up(message: str) -> NoReturn:
    """Ends the command because of what happened."""
    _end(message, _FAILED)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Ends the command where a file cannot be read or written, or the service's answer breaks off."""
    try:
        yield
    except BrokenPipeError:
        raise  # Whoever read our output has seen enough: Typer ends the command without a word.
    except httpx.HTTPError as error:
        give_up(f"The service's answer broke off: {described(error)}.")
    except (OSError, EOFError, zlib.error) as error:
        give_up(f"{described(error)}.")


def described(error: Exception) -> str:
    """An exception as words on one line, with nothing that a terminal would act on; its kind where it has none."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    line = "".join(character if character.isprintable() else "�" for character in " ".join(str(error).split()))
    return line[:_LONGEST].rstrip(".") or type(error).__name__


def _end(message: str, status: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)
