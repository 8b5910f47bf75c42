"""Hooks of schemathesis: most generated requests name what there is, so that they get past "no such resource"."""

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import schemathesis

VARIABLE = "CROSSWALK_TEST_KNOWN_IDS"
"""By parameter, the ids of what there is, as JSON."""

_KNOWN: dict[str, list[str]] = json.loads(os.environ.get(VARIABLE, "{}"))
_INVENTED = 4  # of so many values, one stays what was generated


def _known(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The parameters with ids of what there is; which ones follows from the generated value, so that runs repeat."""
    if parameters is None:
        return None
    chosen = dict(parameters)
    for name, value in parameters.items():
        number = zlib.crc32(repr(value).encode())
        if name in _KNOWN and number % _INVENTED:
            chosen[name] = _KNOWN[name][number % len(_KNOWN[name])]
    return chosen


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    return _known(path_parameters)


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    return _known(query)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _known(body) if isinstance(body, dict) else body
