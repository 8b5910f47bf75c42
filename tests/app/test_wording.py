"""What is counted is told in words that fit its number."""

import pytest

from app.wording import count_of


@pytest.mark.parametrize(("number", "words"), [(0, "0 queries"), (1, "1 query"), (2, "2 queries")])
def test_a_count_is_told_in_the_singular_or_the_plural(number: int, words: str) -> None:
    assert count_of(number, "query", "queries") == words
    assert count_of(number, "item") == words.replace("queries", "items").replace("query", "item")
