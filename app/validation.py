"""Validation errors that a request's own validators raise about one member of its body."""

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

WRONG = "wrong"
"""The type of the validation errors that `wrong` makes."""


def wrong(message: str, *path: str) -> ValidationError:
    """A validation error at a member of the body, given or lacking, to be raised by a validator."""
    error = PydanticCustomError(WRONG, "{message}", {"message": message})
    return ValidationError.from_exception_data("request", [InitErrorDetails(type=error, loc=path, input=None)])
