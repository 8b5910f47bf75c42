"""Words for people that depend on numbers."""


def count_of(number: int, one: str, many: str | None = None) -> str:
    """`1 query` or `2 queries`; many: left out, `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
