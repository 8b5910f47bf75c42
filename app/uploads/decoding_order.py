"""What the gateway and a guarded process say to each other. Imports little, since each guarded process imports it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from app.problems import Problem, all_problems
from app.uploads.expected_columns import Column, Expected, UploadLimits


@dataclass(frozen=True)
class Order:
    """One body to decode, with its rules and limits, as JSON on the guarded process's standard input."""

    body: str
    media_type: str
    expected: Expected
    limits: UploadLimits
    into: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Order":
        request = json.loads(text)
        columns = tuple(Column(**column) for column in request["expected"]["columns"])
        request["expected"] = Expected(request["expected"]["noun"], columns)
        return cls(**request | {"limits": UploadLimits(**request["limits"])})


@dataclass(frozen=True)
class DecodingAnswer:
    """The outcome, as JSON on the guarded process's standard output: how many rows, or the problem."""

    rows: int | None = None
    problem: str | None = None
    detail: str = ""
    members: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> "DecodingAnswer":
        return cls(**json.loads(text))

    @classmethod
    def of(cls, problem: Problem) -> "DecodingAnswer":
        return cls(problem=problem.slug, detail=problem.detail, members=problem.members)

    def count(self) -> int:
        """The number of rows. Raises the problem, where it was one."""
        if self.rows is not None:
            return self.rows
        raise next(cls for cls in all_problems() if cls.slug == self.problem)(self.detail, **self.members)
