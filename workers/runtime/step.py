"""The process of one step: `python -m workers.runtime.step <job id> <lease token> <supervisor's pid>`.

CUDA, leaks, crashes and cancelling stay inside it. It lives no longer than its supervisor, nor than its lease.
"""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

from app import failpoints
from app.artifacts.shared import StepArtifacts
from app.jobs.leases import CancelRequested, LeaseLost, Leases
from app.logs import quiet_libraries
from app.problems import DamagedFile, DiskFull, EmbedderAway, IndexEngineAway
from app.settings import Settings
from app.storage.database import Database
from app.storage.disk import disk_problem
from app.storage.object_store import store_problem
from models.portable import ArtifactError
from workers.context import StepContext, StepFailed
from workers.heartbeat import LEASE_LOST, Heartbeat
from workers.runtime.child_process import ASKED_TO_WAIT, BEGUN
from workers.runtime.death import DISK_FULL, EMBEDDER_IN_VAIN, SERVER_AWAY
from workers.runtime.failure import UNLIKELY_TO_HEAL, may_heal, reason_of_data
from workers.runtime.program import CROSSWALK, Program

_PR_SET_PDEATHSIG = 1

_TRIES = 5

_LONGEST_WAIT_SECONDS = 86_400.0
"""What an embedder asks for beyond that is not believed."""

_log = logging.getLogger(__name__)


def main(program: Program, arguments: list[str]) -> int:
    """Does the step that the lease names. Returns the exit status; whatever was not finished, the supervisor releases.

    An unexpected exception leaves with its traceback on stderr, and is tried again: once more at most, unless it is one
    that may heal. StepFailed, and what comes of the data, are not.
    """
    job_id, token, supervisor = arguments
    _die_with(int(supervisor))
    failpoints.arm("step")
    faulthandler.enable()  # A native library's fault says in the log which line of Python led to it.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    quiet_libraries()
    settings = Settings()
    _stand_back(settings.step_niceness)
    database = Database(settings.sqlalchemy_url, settings.database_connections, settings.database_seconds)
    leases = Leases(database, settings, program.failed(settings))
    try:
        lease = leases.taken(job_id, token)
        with Heartbeat(leases, lease, settings, int(supervisor)) as heartbeat:
            sys.stdout.write(f"{BEGUN}\n")  # print would write twice, and something else might come in between
            sys.stdout.flush()
            artifacts = None if settings.storage_url is None else StepArtifacts(settings, lease.job_id)
            do(program, StepContext(settings, database, leases, lease, heartbeat, artifacts))
    except LeaseLost:
        return LEASE_LOST
    except CancelRequested:
        return 0
    except Exception as error:
        problem = disk_problem(error, settings.data_dir)
        if isinstance(problem, DiskFull):
            logging.exception("the disk is full")
            sys.stdout.write(f"{problem.detail}\n")  # the last line is the reason that the supervisor gives
            return DISK_FULL
        if isinstance(error, EmbedderAway):
            return _embedder_away(error)
        away = error if isinstance(error, IndexEngineAway) else store_problem(error)
        if away is not None:
            logging.exception("a server that the step needs does not answer")
            sys.stdout.write(f"{away.detail}\n")
            return SERVER_AWAY
        if may_heal(error):
            raise
        traceback.print_exc()
        return UNLIKELY_TO_HEAL
    finally:
        database.close()
    return 0


def do(program: Program, context: StepContext) -> None:
    """Does the step of a program that the context's lease names, to its end: finished, or failed for good."""
    try:
        # Imported here, so that only the process that needs torch loads it, and while the lease is kept.
        import_module(program.steps[context.lease.step]).run(context)
    except StepFailed as failure:
        context.fail(failure.reason)
    except (DamagedFile, ArtifactError) as damage:  # What is on disk will not be another the next time.
        context.fail(f"{damage} `crosswalk verify` names what is damaged.")
    except (LeaseLost, CancelRequested):
        raise
    except Exception as error:
        outside = store_problem(error) or disk_problem(error, context.settings.data_dir)
        if outside is not None or (reason := reason_of_data(error)) is None:
            raise
        _log.exception("step cannot be done with its data")
        context.fail(reason)
    else:
        if not context.finished:
            raise RuntimeError(f"step {context.lease.step!r} returned without finishing its job")


def _embedder_away(error: EmbedderAway) -> int:
    """Waits at no cost where the embedder asked for a long pause; else an attempt was made, and they come to an end."""
    logging.error("an embedder does not answer", exc_info=error)
    if error.after is not None:
        sys.stdout.write(f"{ASKED_TO_WAIT}{min(error.after, _LONGEST_WAIT_SECONDS)}\n")
    sys.stdout.write(f"{error.detail}\n")
    return EMBEDDER_IN_VAIN if error.in_vain or error.maybe_paid else SERVER_AWAY


def _stand_back(niceness: int) -> None:
    """Leaves the processor to whoever wants it too: a step takes minutes, and who searches meanwhile waits for it.

    Where Linux schedules by sessions, of which each step has one of its own, a process's niceness counts within its
    session alone, and that of the session among others (sched(7), "The autogroup feature").
    """
    if not niceness:
        return
    os.nice(niceness)
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness))
            return
        except BlockingIOError:  # Linux takes one such change in a tenth of a second, from all processes together
            time.sleep(0.1)
        except OSError:  # there are no such sessions here
            return


def _die_with(supervisor: int) -> None:
    """Killed by the kernel when the supervisor dies (Linux); elsewhere the heartbeat notices."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # It died before we could ask.
        os._exit(LEASE_LOST)


if __name__ == "__main__":
    sys.exit(main(CROSSWALK, sys.argv[1:]))
