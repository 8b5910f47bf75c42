"""The OpenAPI document is complete: everything is explained, and every error shape is there."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import app

METHODS = ("get", "put", "post", "delete", "patch")


@pytest.fixture(scope="module")
def document(shared_client: httpx.Client) -> dict[str, Any]:
    body: dict[str, Any] = shared_client.get("/openapi.json").json()
    return body


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert method in METHODS
            yield f"{method.upper()} {path}", operation


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        for member in node.values():
            yield from _references(member)
    elif isinstance(node, list):
        for member in node:
            yield from _references(member)


def test_every_operation_is_explained_and_named_once(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in _operations(document)]
    assert len(set(ids)) == len(ids) > 20
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in _operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        responses = operation["responses"]
        assert "application/problem+json" in responses["default"]["content"], name
        for status, response in responses.items():
            if status.isdigit() and int(status) >= 400:
                assert set(response["content"]) == {"application/problem+json"}, f"{name} {status}"
                for example in response["content"]["application/problem+json"]["examples"].values():
                    assert example["value"]["status"] == int(status), f"{name} {status}"
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(responses), name


def test_every_documented_problem_type_is_explained(document: dict[str, Any], shared_client: httpx.Client) -> None:
    types = {
        example["value"]["type"]
        for _, operation in _operations(document)
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        for example in content.get("examples", {}).values()
        if "type" in example["value"]
    }
    assert len(types) > 8
    for kind in types:
        assert shared_client.get(kind).status_code == 200


def test_the_version_is_the_packages(document: dict[str, Any]) -> None:
    project = tomllib.loads((Path(app.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert document["info"]["version"] == project["version"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in set(_references(document)):
        part: Any = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{name}: {parameter['name']}"
