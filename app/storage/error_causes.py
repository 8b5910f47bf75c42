"""What led to an error, as far back as is known."""

from collections.abc import Iterator


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """An error, and what led to it, each once, though errors may have led to one another in a ring, as gRPC's do;
    SQLAlchemy keeps the driver's error in `orig`."""
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [
            cause
            for cause in (getattr(one, "orig", None), one.__cause__, one.__context__)
            if isinstance(cause, BaseException)
        ]
