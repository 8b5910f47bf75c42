"""Decoders are forked from one process: whatever becomes of it or of them, bodies are answered and nothing is left."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from app.forking import forked_process
from app.forking.fork_orders import ForkOrder
from app.forking.forked_process import ForkServer
from app.problems import InvalidUpload, TooLarge, Unavailable
from app.uploads import guard
from app.uploads.guard import decode_guarded, decoder_forks
from app.uploads.media_types import ARROW
from app.uploads.rows import UploadedRows
from benchmarks.hostile_files import EXPECTED, arrow, table
from tests.app.uploads.conftest import LIMITS
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.job_bench import alive, command_line


@pytest.fixture
def forks() -> Iterator[ForkServer]:
    forks = decoder_forks()
    assert forks is not None
    yield forks
    forks.close()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    body = tmp_path / "body"
    body.write_bytes(arrow(table(100)))
    return body


@pytest.fixture
def stuck_body(body: Path) -> Path:
    """A body whose decoder waits for as long as it lives: its rows are to go into a pipe that nobody reads."""
    os.mkfifo(body.with_name("rows"))
    return body


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def take(body: Path, forks: ForkServer) -> UploadedRows:
    return decode_guarded(body, ARROW, EXPECTED, LIMITS, body.with_name("rows"), forks)


def server(forks: ForkServer) -> psutil.Process:
    return psutil.Process(forks.pid)


def decoders(below: psutil.Process) -> list[psutil.Process]:
    return [
        child for child in below.children(recursive=True) if b"app.uploads.guarded_process" in command_line(child.pid)
    ]


def the_decoder(below: psutil.Process) -> psutil.Process:
    """The one below a process that decodes now; waits for it."""
    wait_until(lambda: len(decoders(below)) == 1, "a decoder")
    (decoder,) = decoders(below)
    return decoder


def decoder_of(forks: ForkServer) -> psutil.Process:
    wait_until(lambda: forks.pid is not None, "what decoders come from")
    return the_decoder(server(forks))


def test_all_decoders_come_from_one_process_of_one_thread_without_secrets_that_ends_when_closed(
    body: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSWALK_MILVUS_TOKEN", "secret")
    assert take(body, forks).count == 100
    first = server(forks)
    assert take(body, forks).count == 100
    assert server(forks) == first
    assert first.num_threads() == 1
    assert not any(name.startswith("CROSSWALK") for name in first.environ())
    assert first.children() == []
    forks.close()
    wait_until(lambda: not alive(first.pid), "it to die")


def test_what_decoders_come_from_outlives_the_thread_that_began_it(
    body: Path, forks: ForkServer, elsewhere: ThreadPoolExecutor
) -> None:
    elsewhere.submit(take, body, forks).result()
    first = server(forks)
    elsewhere.shutdown()
    assert take(body, forks).count == 100
    assert server(forks) == first


def test_what_decoders_come_from_goes_when_nothing_is_to_do(
    body: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked_process, "_REST_SECONDS", 0.0)
    monkeypatch.setattr(forked_process, "_LOOK_SECONDS", 0.05)
    assert take(body, forks).count == 100
    wait_until(lambda: forks.pid is None, "it to go")
    assert take(body, forks).count == 100


def test_a_body_is_answered_though_what_its_decoder_comes_from_is_killed(
    stuck_body: Path, forks: ForkServer, elsewhere: ThreadPoolExecutor
) -> None:
    rows = elsewhere.submit(take, stuck_body, forks)
    decoder = decoder_of(forks)
    decoder.suspend()
    stuck_body.with_name("rows").unlink()  # the next decoder makes a file of it
    server(forks).kill()
    wait_until(lambda: not alive(decoder.pid), "the decoder to die with it")
    assert rows.result(PATIENCE_SECONDS).count == 100
    assert take(stuck_body, forks).count == 100


def test_decoding_ends_when_its_service_stops(
    stuck_body: Path, forks: ForkServer, elsewhere: ThreadPoolExecutor
) -> None:
    rows = elsewhere.submit(take, stuck_body, forks)
    decoder = decoder_of(forks)
    forks.close()
    with pytest.raises(Unavailable):
        rows.result(PATIENCE_SECONDS)
    wait_until(lambda: not alive(decoder.pid), "the decoder to die")


def test_a_body_is_decoded_though_what_its_decoder_comes_from_hangs(
    body: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(body, forks)
    hung = server(forks)
    hung.suspend()
    monkeypatch.setattr(guard, "_LONGEST_BIRTH_SECONDS", 0.2)
    assert take(body, forks).count == 100
    wait_until(lambda: not alive(hung.pid), "what hangs to be killed")
    monkeypatch.undo()
    assert take(body, forks).count == 100
    assert server(forks) != hung


def test_after_a_crash_decoders_come_from_another_process(
    stuck_body: Path, forks: ForkServer, elsewhere: ThreadPoolExecutor
) -> None:
    rows = elsewhere.submit(take, stuck_body, forks)
    decoder, first = decoder_of(forks), server(forks)
    decoder.send_signal(signal.SIGSEGV)
    with pytest.raises(InvalidUpload, match="crash"):
        rows.result(PATIENCE_SECONDS)
    wait_until(lambda: not alive(first.pid), "what the crashed one came from to end")
    stuck_body.with_name("rows").unlink()
    assert take(stuck_body, forks).count == 100


def test_a_crash_leaves_other_decoders_to_finish(forks: ForkServer) -> None:
    ours, theirs = os.pipe()
    waiting = ForkOrder("fileinput", (), ())  # reads until its input ends
    with open(ours, "rb"), open(theirs, "wb") as writing, tempfile.TemporaryFile() as output:
        other = forks.fork(waiting, output.fileno(), given=ours)
        forks.renew(other)
        assert other.wait(0.0) is None
        writing.close()
        assert other.wait(PATIENCE_SECONDS) is not None
        assert not other.lost


def test_a_decoder_that_hangs_is_killed(stuck_body: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_WALL_PER_CPU", 2 / LIMITS.base_seconds)
    with pytest.raises(TooLarge, match="more than 2"):
        take(stuck_body, forks)
    wait_until(lambda: not decoders(psutil.Process()), "it to die")


def test_a_gateway_that_is_killed_leaves_no_process_behind(stuck_body: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.app.uploads.test_guard import take, decoder_forks;"
        "take(Path(sys.argv[1]), decoder_forks())"
    )
    gateway = subprocess.Popen([sys.executable, "-c", script, str(stuck_body)])
    try:
        decoder = the_decoder(psutil.Process(gateway.pid))
        first = decoder.parent()
        assert first is not None
        decoder.suspend()
        first.suspend()
    finally:
        gateway.kill()
        gateway.wait()
    wait_until(lambda: not alive(decoder.pid) and not alive(first.pid), "what it had begun to die")
