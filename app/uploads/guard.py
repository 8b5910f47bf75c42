"""Decoding in a process of its own, bounded in memory, time and what it may write.

Native decoders allocate what a file claims before anyone can object, and may crash on what no one foresaw. There the
limit is the kernel's, and a crash ends the upload alone. One start costs about as much as importing pyarrow.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.problems import InvalidUpload, Problem, TooLarge, all_problems
from app.uploads.expected_columns import Column, Expected, UploadLimits
from app.uploads.rows import UploadedRows

_WALL_PER_CPU = 4  # a busy machine, a slow disk
_PACKAGES = Path(__file__).resolve().parents[2]
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_TUNED = {
    # One thread and one allocator without reserves, so that the memory limit bounds what is used.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONPATH": str(_PACKAGES),
}


def decode_guarded(body: Path, media_type: str, expected: Expected, limits: UploadLimits, into: Path) -> UploadedRows:
    """`decode`, in a bounded process that has none of this one's secrets in its environment.

    Raises what `decode` raises.
    """
    order = Order(str(body), media_type, expected, limits, str(into))
    seconds = _WALL_PER_CPU * limits.seconds(body.stat().st_size)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "app.uploads.guarded_process"],
            input=order.to_json().encode(),
            capture_output=True,
            timeout=seconds,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _TUNED,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TooLarge(f"Decoding the body took more than {seconds} seconds. Send it in parts.") from None
    if done.returncode == 0:
        return UploadedRows.at(into, DecodingAnswer.from_json(done.stdout).count())
    if done.returncode == -signal.SIGXCPU:
        raise TooLarge("Decoding the body took too much processor time. Send it in parts.")
    if done.returncode == -signal.SIGKILL:
        raise TooLarge("The decoder was stopped, most likely for want of memory. Send the body in parts.")
    if done.returncode < 0:
        raise InvalidUpload("The body made its decoder crash: it is damaged, or not in the format that it says.")
    raise RuntimeError(f"the decoder ended with {done.returncode}: {done.stderr.decode(errors='replace')}")


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
