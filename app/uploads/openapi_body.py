"""How bulk bodies show in the OpenAPI description: their media types, and an example that runs as it stands."""

from typing import Any

from app.uploads import media_types


def bulk_body(description: str, example: dict[str, Any]) -> dict[str, Any]:
    """The `requestBody` of an operation that streams its body to `app.uploads`."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {media_types.JSON: {"schema": {"type": "object"}, "example": example}}
    content |= {name: binary for name in media_types.BULK if name != media_types.JSON}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def judgements_body(description: str, example: str) -> dict[str, Any]:
    """The same of an operation that takes judgements as text."""
    text: dict[str, Any] = {"schema": {"type": "string"}}
    content = dict.fromkeys(media_types.JUDGEMENTS, text) | {media_types.TSV: text | {"example": example}}
    return {"requestBody": {"required": True, "description": description, "content": content}}
