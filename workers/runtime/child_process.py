"""One step's process, as its supervisor sees it: started, listened to, killed, and what it died of."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Protocol

import structlog

from app import failpoints
from app.forking.fork_orders import ForkOrder
from app.forking.forked_process import ForkServer
from app.jobs.values import Lease
from app.settings import Settings
from workers.runtime.death import Death, explain
from workers.runtime.program import Program

_GRACE_SECONDS = 1.0
_LAST_WORDS_SECONDS = 10.0
"""How long a process's output is waited for once it is dead: its reader may be slow to be woken on a busy machine, and
without it nobody learns why the step ended. It only takes so long where something outlived it that writes there, too.
"""
BEGUN = "The step has begun."
"""What a step's process prints once it keeps its lease itself."""

ASKED_TO_WAIT = "Not to be tried again before so many seconds: "
"""How the line begins by which a step's process says so."""

_LAST_LINES = 3
_LONGEST_LINE = 2_000
_LONGEST_REASON = 1_000
_WHERE = (" ", "Traceback", "Current thread", "Thread 0x", "Stack (most", "Extension modules:")
"""How lines of a traceback begin that say where, not what; Python's own and, after a fault, faulthandler's."""
_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_WAITING = {"GOMP_SPINCOUNT": "2000"}
"""How often threads of PyTorch look for more work before they sleep: some microseconds. By default they do for
milliseconds, which on cores that others use as well, such as the gateway, takes several times the work's own time."""

log = structlog.get_logger(__name__)


class StepProcess(Protocol):
    """A process group of its own, however it came to be."""

    @property
    def pid(self) -> int | None:
        """None until it has one."""

    def wait(self, timeout: float) -> int | None:
        """The exit status (negative: the signal that killed it); None where it still runs after so many seconds."""

    def close(self) -> None:
        """Said when nothing more is asked of it."""


class SpawnedProcess:
    """A process of an interpreter of its own, which has everything to import."""

    def __init__(self, command: list[str], environment: Mapping[str, str], output: int) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def wait(self, timeout: float) -> int | None:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        pass


class Child:
    """A process group of its own, whose output goes to our log under the job's id.

    forks: what it is forked from; None starts an interpreter for it.
    """

    def __init__(self, program: Program, settings: Settings, lease: Lease, forks: ForkServer | None = None) -> None:
        output, into = os.pipe()
        try:
            self._process = _started(program, settings, lease, forks, into)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(into)
        self._lease = lease
        self._begun = threading.Event()
        self._asked_to_wait = 0.0
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(
            target=self._listen, args=(output,), name=f"output of {lease.job_id}", daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int | None:
        """None until there is a process."""
        return self._process.pid

    @property
    def begun(self) -> bool:
        """Whether the process has started to renew its lease."""
        return self._begun.is_set()

    @property
    def asked_to_wait(self) -> float:
        """Seconds before which the step is not to be tried again, as it said when it ended."""
        return self._asked_to_wait

    def wait(self, timeout: float) -> int | None:
        """The exit status (negative: the signal that killed it); None while it runs."""
        return self._process.wait(timeout)

    def stop(self) -> None:
        """Ends the process and all that it started: TERM, and KILL for what is left after a moment."""
        for which in (signal.SIGTERM, signal.SIGKILL):
            group = self._signal(which)
            self.wait(_GRACE_SECONDS)
        if group is None:  # it may have been born since, and then knows nothing of having been given up
            self.wait(0)
            self._signal(signal.SIGKILL)
        self._process.close()
        self._listener.join(_LAST_WORDS_SECONDS)

    def _signal(self, which: signal.Signals) -> int | None:
        """Sends a signal to the process and all that it started; their group, None where there is none yet."""
        if (group := self._process.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, which)
        return group

    def death(self) -> Death:
        """How the process ended, said of a step that did not finish its job: see `reason`."""
        return explain(self._process.wait(0))

    def reason(self) -> str:
        """Why the step did not finish its job, for whoever asked for it: how it ended, its last words; bounded."""
        death = self.death()
        last_words = "\n".join(self._last_lines)[-_LONGEST_REASON:]
        how = f"Step {self._lease.step!r} {death.how}"
        return " ".join(filter(None, (f"{how}: {last_words}" if last_words else f"{how}.", death.meaning)))

    def _listen(self, descriptor: int) -> None:
        with open(descriptor, "rb") as output:
            ended = True
            while line := output.readline(_LONGEST_LINE):
                goes_on, ended = not ended, line.endswith(b"\n")
                # PostgreSQL's text holds no NUL, and this may become the reason in a row.
                text = line.decode(errors="replace").replace("\0", "").rstrip()
                if text == BEGUN:
                    self._begun.set()
                    continue
                if text.startswith(ASKED_TO_WAIT):
                    self._asked_to_wait = float(text.removeprefix(ASKED_TO_WAIT))
                    continue
                if not text:
                    continue
                log.info(text, job=self._lease.job_id, step=self._lease.step)
                # Of a traceback, what happened; where it happened is in the log.
                if not goes_on and not text.startswith(_WHERE):
                    self._last_lines.append(text)


def _started(program: Program, settings: Settings, lease: Lease, forks: ForkServer | None, output: int) -> StepProcess:
    if forks is not None:
        order = ForkOrder(program.entry, (lease.job_id, lease.token), (program.entry, program.steps[lease.step]))
        return forks.fork(order, output)
    # -P: the folder that the service was started from may hold modules of the same names as ours.
    command = [sys.executable, "-P", "-m", program.entry, lease.job_id, lease.token, str(os.getpid())]
    return SpawnedProcess(command, environment(settings), output)


def environment(settings: Settings) -> dict[str, str]:
    """What a step's process starts with: our environment, these settings, our import path, its share of the cores."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("CROSSWALK_")}
    given = settings.model_copy(update={"data_dir": settings.data_dir.resolve()}).model_dump(
        mode="json", exclude_none=True
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # One count for all: PyTorch takes MKL's for its own, and two threads too many wait for each other at every step.
    share = ours.get(_THREAD_COUNTS[0], str(max(1, cores // settings.worker_concurrency)))
    return {
        **dict.fromkeys(_THREAD_COUNTS, share),
        **_WAITING,
        **ours,
        **{f"CROSSWALK_{name.upper()}": _variable(value) for name, value in given.items()},
        **_secrets(settings),
        **failpoints.passed_on(),
        "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path),
        "PYTHONUNBUFFERED": "1",
    }


def _secrets(settings: Settings) -> dict[str, str]:
    """Those that steps need: what shows settings leaves them out."""
    token = settings.milvus_token
    return {} if token is None else {"CROSSWALK_MILVUS_TOKEN": token.get_secret_value()}


def _variable(value: object) -> str:
    """A setting as a variable's text: several names have commas between them."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
