"""A dataset as plain data: what crosses from this resource to the others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset, and the name of the folder in which its files lie."""

    id: str
    folder: str
