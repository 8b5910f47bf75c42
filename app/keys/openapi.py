"""What the OpenAPI document says of keys: which operation needs one, with which scopes."""

from typing import Any

from app.http.openapi import add_problem
from app.keys.access import EVERY_SCOPE, KeyScope
from app.keys.rules import RULES
from app.problems import Forbidden, Overloaded, TooManyRequests, Unauthorized

_SCHEME = "key"
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, `cwk_…`, or the service's admin key. A service that has no keys needs none.",
}


def document_rules(document: dict[str, Any]) -> None:
    """Adds to an OpenAPI document how keys are sent, and to each of its operations which key it needs."""
    document["components"]["securitySchemes"] = {_SCHEME: _KEY}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _document_rule(method.upper(), path, operation)


def _document_rule(method: str, path: str, operation: dict[str, Any]) -> None:
    """Says which key an operation needs, in words too, since the scopes of a bearer key have no place of their own."""
    rule = RULES.of_route(method, path)
    if rule is None or rule.open:
        operation["security"] = []
        return
    operation["security"] = [{_SCHEME: []}]
    scopes = " or ".join(f"`{scope}`" for scope in sorted(rule.one_of))
    needed = "any key" if rule.one_of == EVERY_SCOPE else f"a key with scope {scopes}"
    bound = ", not bound to galleries" if rule.shared and rule.one_of != {KeyScope.ADMIN} else ""
    operation["description"] = f"{operation.get('description', '')}\n\nNeeds {needed}{bound}."
    for kind in (Unauthorized, Forbidden, TooManyRequests, Overloaded):
        add_problem(operation["responses"], str(kind.status), kind)
