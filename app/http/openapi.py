"""What the OpenAPI document says, above all of what can go wrong: every operation names its problem answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from app.http.openapi_links import add_links
from app.problems import (
    MEDIA_TYPE,
    BadRequest,
    BodyStopped,
    Problem,
    TooLarge,
    Unprocessable,
    UnsupportedMediaType,
)

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = """
Crosswalk upgrades the embedding model behind a vector search without re-embedding the gallery.

1. **Register** the old and the new model (`POST /models`): their ids, dimensions and metrics are all that is needed.
2. **Fill a gallery** with the old model's vectors (`POST /galleries`, `PUT /galleries/{id}/items`), and search it.
3. **Ask which items to embed** with the new model (`GET /galleries/{id}/sample`), embed those few hundred or thousand,
   and put them into a dataset (`POST /datasets`, `PUT /datasets/{id}/rows`).
4. **Start the upgrade** (`POST /models/{old}/upgrade`). It learns the crossing, proves on your data whether it is good
   enough, and either says why not, or switches the gallery without downtime. `GET /upgrades/{id}` shows how far it is.
   Or **train a new model** that needs no crossing: with `"strategy": "compatible"` and a labelled dataset of images or
   texts, it lands in the old space, and its queries search the gallery as it is. `GET /models/{id}/artifact` downloads
   it.
5. **Search with the new model's queries** (`GET /search`), and roll back at once if you want to
   (`POST /upgrades/{id}/rollback`).

The examples run as they stand, from top to bottom, on a service that holds nothing yet (leave the deletions for last;
an upgrade's id is in the answer that started it; `GET /search` wants a `vector`, or an item to find the `like` of).
Every error is an `application/problem+json` object (RFC 9457) whose `type` leads to an explanation. Lists are paged by
cursors. Calls that start work honour an `Idempotency-Key`.

A service without keys answers its own machine alone. Once it has some (`crosswalk keys create`), every call but those
on its health needs one: press **Authorize**, or send `Authorization: Bearer <key>`.
"""

TAGS = [
    {"name": "models", "description": "Which versions of embedding models there are. Crosswalk needs no weights."},
    {
        "name": "galleries",
        "description": "The items searched against, every vector stamped with the model that made it.",
    },
    {"name": "datasets", "description": "Rows to learn or evaluate a crossing from."},
    {
        "name": "side-information",
        "description": "Encoders trained without labels, whose vectors stand beside another model's.",
    },
    {"name": "upgrades", "description": "The long-running operation that takes galleries from one model to another."},
    {
        "name": "evaluations",
        "description": "How well one model's queries search another's vectors, at any time, without an upgrade.",
    },
    {"name": "search", "description": "Queries of any model that has a route to the gallery."},
    {
        "name": "old-space",
        "description": "OpenAI's embeddings call: a new model's vectors, brought into the space of an old index.",
    },
    {"name": "keys", "description": "Who may use the service, what for, and how often."},
    {"name": "service", "description": "Whether the service is well, and what its answers mean."},
]


class ProblemBody(BaseModel):
    """An error (RFC 9457). Some kinds have members of their own besides these."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="Which kind of problem; a link to its explanation.", examples=["/problems/not-found"])
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong this time, and what to do about it.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="Finds this request in the service's log.")


def problems(*kinds: type[Problem]) -> Responses:
    """The `responses` of an operation that may answer with these problems."""
    responses: Responses = {}
    for kind in kinds:
        add_problem(responses, kind.status, kind)
    return responses


class Documented(FastAPI):
    """FastAPI whose document tells of problem answers where FastAPI's own tells of validation errors.

    document_access: adds to the document who may use which operation.
    """

    def __init__(self, *, document_access: Callable[[dict[str, Any]], None], **options: Any) -> None:
        super().__init__(**options)
        self._document_access = document_access

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
            _hoist_definitions(document["paths"], schemas)
            self._document_access(document)
            for operation in _operations(document["paths"]):
                _document_problems(operation)
                _show_examples(operation)
            add_links(document["paths"])
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _operations(paths: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    return (operation for path in paths.values() for operation in path.values())


def _hoist_definitions(node: Any, schemas: dict[str, Any]) -> None:
    """A schema that a route wrote out by hand brings its definitions along; they belong with all the others."""
    if isinstance(node, dict):
        schemas.update(node.pop("$defs", {}))
    for member in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _hoist_definitions(member, schemas)


def _document_problems(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
        add_problem(responses, "422", Unprocessable)
    if "requestBody" in operation:
        for kind in (BadRequest, BodyStopped, TooLarge, UnsupportedMediaType, Unprocessable):
            add_problem(responses, str(kind.status), kind)
    responses["default"] = {"description": "Any other problem", "content": {MEDIA_TYPE: {"schema": _reference()}}}


def _show_examples(operation: dict[str, Any]) -> None:
    """Swagger UI fills a parameter in from its own example, and not from its schema's."""
    for parameter in operation.get("parameters", ()):
        if examples := parameter["schema"].get("examples"):
            parameter.setdefault("example", examples[0])


def add_problem(responses: dict[Any, dict[str, Any]], status: int | str, kind: type[Problem]) -> None:
    """Adds to an operation's `responses` that it may answer with this problem."""
    response = responses.setdefault(status, {"description": kind.title})
    content = response.setdefault("content", {}).setdefault(MEDIA_TYPE, {"schema": _reference(), "examples": {}})
    if kind.slug in content["examples"]:
        return
    if content["examples"]:
        response["description"] += f", or: {kind.title.lower()}"
    example = {"type": kind.type_uri(), "title": kind.title, "status": kind.status, "detail": kind.remedy}
    content["examples"][kind.slug] = {"summary": kind.title, "value": example}


def _reference() -> dict[str, str]:
    return {"$ref": "#/components/schemas/Problem"}
