"""Rates are one number of requests in one length of time, of both settings and keys."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.keys.schemas import NewKey
from app.rates import parsed_rate
from app.settings import Settings


@pytest.mark.parametrize("wrong", ["often", "", "5/second;10/minute", "5/second, 9/day", "0/second", "1/0 seconds"])
def test_what_is_not_one_rate_is_refused_everywhere(wrong: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parsed_rate(wrong)
    with pytest.raises(ValidationError, match="key_rate"):
        Settings(key_rate=wrong)
    with pytest.raises(ValidationError, match="rate"):
        NewKey.model_validate({"name": "a", "scopes": ["search"], "rate": wrong})


def test_a_rate_is_taken_as_it_is() -> None:
    assert Settings(key_rate="1000/5 minutes").key_rate == "1000/5 minutes"
    item = parsed_rate("1000/5 minutes")
    assert (item.amount, item.get_expiry()) == (1000, 300)
