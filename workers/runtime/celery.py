"""The worker: Celery listens for the doorbell, the supervisor works. Alone, or inside the service's process."""

import logging
import signal
import threading
from types import FrameType, TracebackType

import structlog
from celery.worker import state as celery_state

from app.jobs.doorbell import DOORBELL, Doorbell, celery_app
from app.settings import Settings
from workers.runtime.program import CROSSWALK, Program
from workers.runtime.supervisor import Supervisor

_STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class EmbeddedWorker:
    """A worker in threads of this process, between `start` and `stop`, or as a context manager. One per process.

    It installs no signal handlers and never loads torch: steps run in processes of their own.
    """

    def __init__(self, settings: Settings, program: Program = CROSSWALK) -> None:
        self._settings = settings
        self._doorbell = Doorbell(settings)
        self._supervisor = Supervisor(settings, program, self._doorbell.ring)
        self._stopping = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="doorbell", daemon=True)

    def start(self) -> None:
        """Returns at once; work that waits already is found within moments."""
        # One line for every ring says nothing that the supervisor does not say better.
        for noisy in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        celery_state.should_stop = None
        self._listener.start()
        self._supervisor.start()

    def stop(self) -> None:
        """Stops listening, kills running steps and hands their jobs back; done within a few seconds."""
        self._stopping.set()
        celery_state.should_stop = 0
        self._doorbell.ring()  # Celery sees that it should stop when it next hears something.
        self._supervisor.stop()
        self._listener.join(_STOP_SECONDS)
        celery_state.should_stop = None
        self._doorbell.close()

    def __enter__(self) -> "EmbeddedWorker":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            app = celery_app(self._settings)
            app.set_current()  # Of this thread: the solo pool looks its tasks up there.
            # Shared, it would be registered with every Celery app of the process, and only the first one kept.
            app.task(self._supervisor.wake, name=DOORBELL, shared=False)
            controller = app.WorkController(
                pool_cls="solo",  # A ring takes microseconds; the work is done elsewhere.
                concurrency=1,
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            )
            controller.start()
            app.close()
            if not self._stopping.wait(self._settings.sweep_seconds):
                log.warning("stopped hearing the doorbell; listening again")


def run_worker(settings: Settings, program: Program = CROSSWALK) -> None:
    """`crosswalk worker`: works in the foreground until SIGTERM or SIGINT, then hands back what it was doing."""
    asked_to_stop = threading.Event()

    def stop(signal_number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with EmbeddedWorker(settings, program):
        log.info("worker ready", slots=settings.worker_concurrency, steps=sorted(program.steps))
        asked_to_stop.wait()
        log.info("worker stopping")
