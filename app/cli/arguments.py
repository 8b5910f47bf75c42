"""Arguments and options that several client commands share."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.files import FileType

Id = Annotated[str, typer.Argument(help="The id it was, or is to be, registered with.")]
File = Annotated[
    Path,
    typer.Argument(
        help="Parquet, Arrow (file or stream; Feather), npz, JSON or a JSON object a line; each may be gzipped.",
        exists=True,
        dir_okay=False,
    ),
]
Type = Annotated[
    FileType | None, typer.Option(help="What the file is. [default: by its ending, or else by how it begins]")
]
Url = Annotated[str | None, typer.Option(help="The service. [default: $CROSSWALK_URL, or http://127.0.0.1:8000]")]

AS_ARGUMENTS = {"ignore_unknown_options": True}
"""Of commands whose arguments may begin with a minus: half of all vectors do, and an item's id may."""
