"""Rates of requests, as people write them: `100/second`, `1000/5 minutes`."""

import re
from functools import lru_cache
from typing import Annotated

import limits
from pydantic import AfterValidator, Field


@lru_cache(maxsize=1024)
def parsed_rate(rate: str) -> limits.RateLimitItem:
    """How many requests in what time. Raises ValueError unless the text says one rate, of at least one request."""
    try:
        found = limits.parse_many(rate)
    except ValueError:
        raise ValueError("a rate is like 100/second or 1000/5 minutes") from None
    if len(found) != 1:
        raise ValueError("only one rate can be given, like 100/second or 1000/5 minutes")
    # The library takes a length of 0 for a length of 1.
    if any(int(number) == 0 for number in re.findall(r"[0-9]+", rate)):
        raise ValueError("a rate is of at least one request in at least one second, like 100/second")
    return found[0]


def _checked(rate: str) -> str:
    parsed_rate(rate)
    return rate


Rate = Annotated[str, Field(max_length=64), AfterValidator(_checked)]
"""A rate as it is written, once `parsed_rate` understands it."""
