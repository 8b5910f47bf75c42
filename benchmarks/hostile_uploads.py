"""Every hostile body: its size, what it claims, how it is answered, and what memory that took.

    python -m benchmarks.hostile_uploads [--json FILE]

Each body is taken by a process of its own, as the gateway takes it. `gateway` is how much that process grew at its
peak, `decoder` how much the guarded process grew that it started, above what its imports take.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.problems import Problem
from app.settings import Settings
from app.uploads import Uploads
from app.uploads.media_types import JSON, NPY
from benchmarks.hostile_files import DIMENSION, EXPECTED, HOSTILE, items

_PIECE_BYTES = 64 * 1024
_ROOT = Path(__file__).resolve().parents[1]
_SELF = (sys.executable, "-m", "benchmarks.hostile_uploads")


@dataclass(frozen=True)
class MeasuredAnswer:
    """How one body was answered."""

    name: str
    bytes: int
    claims: str
    answer: str
    detail: str
    seconds: float
    gateway_mib: float
    decoder_mib: float


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


async def _take(uploads: Uploads, body: Path, media_type: str) -> str:
    headers = {"content-type": media_type}
    if media_type == NPY:
        async with uploads.queries(_pieces(body), headers) as decoded:
            await decoded(DIMENSION, None)
        return "taken"
    async with uploads.rows(_pieces(body), headers, EXPECTED) as rows:
        return f"{rows.count} rows"


def _peak_mib(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def _measure(body: Path, media_type: str, folder: Path) -> dict[str, str | float]:
    """In a fresh process: one valid body first, so that what is imported and started once counts as baseline."""
    uploads = Uploads(Settings(data_dir=folder))
    warm = folder / "warm"
    warm.write_bytes(items())
    asyncio.run(_take(uploads, warm, JSON))
    before, start = _peak_mib(resource.RUSAGE_SELF), time.perf_counter()
    detail = ""
    try:
        answer = asyncio.run(_take(uploads, body, media_type))
    except Problem as problem:
        answer, detail = f"{problem.status} {problem.slug}", problem.detail
    seconds = time.perf_counter() - start
    uploads.close()  # a process's children count once it has waited for them
    return {
        "answer": answer,
        "detail": detail,
        "seconds": seconds,
        "gateway_mib": _peak_mib(resource.RUSAGE_SELF) - before,
        "decoder_mib": _peak_mib(resource.RUSAGE_CHILDREN),
    }


def _imports_mib() -> float:
    command = (
        "import resource, app.uploads.guarded_process; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    return float(subprocess.check_output([sys.executable, "-c", command], cwd=_ROOT))


def _each() -> list[MeasuredAnswer]:
    imports, answers = _imports_mib(), []
    for hostile in HOSTILE:
        with tempfile.TemporaryDirectory() as folder:
            body = Path(folder) / "body"
            body.write_bytes(hostile.make())
            options = ["--body", str(body), "--type", hostile.media_type]
            answer = json.loads(subprocess.check_output([*_SELF, *options], cwd=_ROOT))
            answer["decoder_mib"] = max(0.0, answer["decoder_mib"] - imports)
            answers.append(MeasuredAnswer(hostile.name, body.stat().st_size, hostile.claims, **answer))
    return answers


def _size(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1000:,.0f} KB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--body", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--type", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.body is not None:
        print(json.dumps(_measure(options.body, options.type, options.body.parent)))
        return
    answers = _each()
    shown = Table(title="Hostile uploads: none stored")
    for heading in ("body", "on disk", "claims", "answer", "seconds", "gateway +MiB", "decoder +MiB"):
        shown.add_column(heading, justify="left" if heading in ("body", "claims", "answer") else "right")
    for row in answers:
        figures = (f"{row.seconds:.2f}", f"{row.gateway_mib:.0f}", f"{row.decoder_mib:.0f}")
        shown.add_row(row.name, _size(row.bytes), row.claims, row.answer, *figures)
    Console(width=140).print(shown)
    gateway, decoder = max(row.gateway_mib for row in answers), max(row.decoder_mib for row in answers)
    print(f"Peaks: gateway +{gateway:.0f} MiB, decoder +{decoder:.0f} MiB.")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in answers], indent=1))


if __name__ == "__main__":
    main()
