"""Decoding in a process of its own, bounded in memory, time and what it may write.

Native decoders allocate what a file claims before anyone can object, and may crash on what no one foresaw. There the
limit is the kernel's, and a crash ends the upload alone. The process is forked from one that has imported pyarrow,
which takes longer than to decode a small body.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from app.forking.fork_orders import ForkOrder
from app.forking.forked_process import ForkServer
from app.problems import InvalidUpload, TooLarge, Unavailable
from app.uploads.decoding_order import DecodingAnswer, Order
from app.uploads.expected_columns import Expected, UploadLimits
from app.uploads.rows import UploadedRows

_MODULE = "app.uploads.guarded_process"
_WALL_PER_CPU = 4  # a busy machine, a slow disk
_LONGEST_BIRTH_SECONDS = 60.0
_GRACE_SECONDS = 5.0
_LONGEST_ANSWER = 16 * 2**20  # bytes; a problem names ten cells at most
_PACKAGES = Path(__file__).resolve().parents[2]
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_TUNED = {
    # One thread and one allocator without reserves, so that the memory limit bounds what is used.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # Not even one for an allocator that is not used, so that what decoders are forked from has no other.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTHONPATH": str(_PACKAGES),
}
_ASKED_TO_END = (-signal.SIGXCPU, -signal.SIGKILL)

log = structlog.get_logger(__name__)


def decoder_forks() -> ForkServer | None:
    """What decoders are forked from, which is started by the first; None where forks are not to be relied on."""
    return ForkServer(_environment()) if sys.platform == "linux" else None


def decode_guarded(
    body: Path, media_type: str, expected: Expected, limits: UploadLimits, into: Path, forks: ForkServer | None = None
) -> UploadedRows:
    """`decode`, in a bounded process that has none of this one's secrets in its environment.

    forks: what it is forked from; None starts an interpreter for it. Raises what `decode` raises, and Unavailable where
    `forks` is closed meanwhile.
    """
    order = Order(str(body), media_type, expected, limits, str(into)).to_json().encode()
    seconds = _WALL_PER_CPU * limits.seconds(body.stat().st_size)
    done = None if forks is None else _forked(forks, order, seconds)
    return _rows(_spawned(order, seconds) if done is None else done, into)


@dataclass(frozen=True)
class _Ended:
    """How a guarded process ended: its exit status (negative: the signal that killed it), and what it wrote."""

    status: int
    output: bytes
    errors: bytes


def _rows(done: _Ended, into: Path) -> UploadedRows:
    if done.status == 0:
        return UploadedRows.at(into, DecodingAnswer.from_json(done.output).count())
    if done.status == -signal.SIGXCPU:
        raise TooLarge("Decoding the body took too much processor time. Send it in parts.")
    if done.status == -signal.SIGKILL:
        raise TooLarge("The decoder was stopped, most likely for want of memory. Send the body in parts.")
    if done.status < 0:
        raise InvalidUpload("The body made its decoder crash: it is damaged, or not in the format that it says.")
    raise RuntimeError(f"the decoder ended with {done.status}: {done.errors.decode(errors='replace')}")


def _spawned(order: bytes, seconds: int) -> _Ended:
    """A guarded process of an interpreter of its own, which has everything to import."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE],
            input=order,
            capture_output=True,
            timeout=seconds,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(seconds) from None
    return _Ended(done.returncode, done.stdout, done.stderr)


def _forked(forks: ForkServer, order: bytes, seconds: int) -> _Ended | None:
    """A guarded process that is forked; None where nothing can be forked, or what it was forked from ended before."""
    with _memory("order") as given, _memory("answer") as output, _memory("errors") as errors:
        given.write(order)
        given.seek(0)
        process = forks.fork(
            ForkOrder(_MODULE, (), (_MODULE,)), output.fileno(), given=given.fileno(), errors=errors.fileno()
        )
        try:
            status = process.wait(min(seconds, _LONGEST_BIRTH_SECONDS))
            if status is None and process.pid is None:
                log.warning("what decoders are forked from does not answer; another takes its place")
                forks.give_up(process)
                return None
            status = process.wait(max(0.0, seconds - _LONGEST_BIRTH_SECONDS)) if status is None else status
            if status is None:
                process.kill()
                process.wait(_GRACE_SECONDS)
                raise _too_slow(seconds)
        finally:
            process.close()
        if process.lost and forks.closed:
            raise Unavailable("The service stops, and with it the decoding of the body. Send it again later.")
        if process.lost:
            log.warning("what decoders are forked from was killed; another takes its place")
            return None
        if status < 0 and status not in _ASKED_TO_END:
            # A body that makes its decoder crash may be an attack. What it learnt of the addresses is of no use to the
            # next, which has others.
            forks.renew(process)
        return _Ended(status, _written(output.fileno()), _written(errors.fileno()))


def _memory(name: str) -> BinaryIO:
    """A file that is in memory alone, so that a full disk is told of the rows and of nothing else."""
    return open(os.memfd_create(name), "w+b", buffering=0)


def _written(descriptor: int) -> bytes:
    return os.pread(descriptor, min(os.fstat(descriptor).st_size, _LONGEST_ANSWER), 0)


def _too_slow(seconds: int) -> TooLarge:
    return TooLarge(f"Decoding the body took more than {seconds} seconds. Send it in parts.")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _TUNED
