"""OpenAPI links: which operations the answer of a creating one leads to.

Every creating operation answers with the `id` of what it made, and every other takes that id in its path. Documents
with links are followed by tools that try operations one after the other, and say to readers what can be done next.
"""

from collections.abc import Mapping
from typing import Any

_CREATED_BY = {
    "model": ("/models", "post"),
    "gallery": ("/galleries", "post"),
    "dataset": ("/datasets", "post"),
    "upgrade": ("/models/{model}/upgrade", "post"),
    "evaluation": ("/evaluations", "post"),
}
"""Of each path parameter, the operation whose answer has it as `id`."""


def add_links(paths: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Writes links into the creating operations' successful answers: one to every operation below what was made."""
    for parameter, (path, method) in _CREATED_BY.items():
        creating = paths[path][method]
        links = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {parameter: "$response.body#/id"},
            }
            for below, operations in paths.items()
            for operation in operations.values()
            if f"/{{{parameter}}}" in below and operation is not creating
        }
        for status, response in creating["responses"].items():
            if status.startswith("2"):
                response["links"] = links
