"""Options whose text is JSON."""

import json
from typing import Any

import typer


def json_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object that an option holds. Ends the command where it is none."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=f"--{option}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object", param_hint=f"--{option}")
    return value
