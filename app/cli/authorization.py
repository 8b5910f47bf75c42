"""The key that client commands send: from a file or $CROSSWALK_KEY, never from an argument, which every user of the
machine can read in the list of processes."""

import os
from pathlib import Path
from typing import Annotated

import typer

KEY_FILE = "CROSSWALK_KEY_FILE"
_KEY = "CROSSWALK_KEY"


def take_key_file(
    key_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with the key that client commands send. [default: ${KEY_FILE}, or the key in ${_KEY}]",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Upgrades the embedding model behind a vector search without re-embedding the gallery."""
    if key_file is not None:
        os.environ[KEY_FILE] = str(key_file)


def authorization() -> dict[str, str]:
    """The header that carries the key; none where there is no key. Ends the command where it cannot be sent."""
    file = os.environ.get(KEY_FILE)
    try:
        key = Path(file).read_text().strip() if file else os.environ.get(_KEY, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"The key cannot be read: {error}.", err=True)
        raise typer.Exit(1) from None
    if not all("!" <= character <= "~" for character in key):
        typer.echo(f"What {file or f'${_KEY}'} holds is no key: a key is one line of letters and digits.", err=True)
        raise typer.Exit(1)
    return {"Authorization": f"Bearer {key}"} if key else {}
