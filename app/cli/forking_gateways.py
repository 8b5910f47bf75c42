"""What several gateway processes are forked from, and share: begun before the rest of the command that starts them.

Importing what a gateway needs takes seconds, which pass beside all that the command itself does.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from multiprocessing.forkserver import ensure_running
from pathlib import Path

from app.http.telemetry import METRICS_DIR

_FORKS = sys.platform == "linux"  # what other systems' libraries set up when they are imported does not outlive a fork
forking = multiprocessing.get_context("forkserver") if _FORKS else multiprocessing.get_context("spawn")
"""What starts gateway processes: on Linux, forked from one that has imported `app.cli.gateway_imports`."""

_SAFE_PATH = "PYTHONSAFEPATH"
_IMPORTED = "app.cli.gateway_imports"
_FOLDER = "crosswalk-processes-"
_OWNED = "owned"


@contextmanager
def begun_to_import() -> Iterator[Path]:
    """Has the process begin to import that gateways are forked from, and that ends after this one. Returns the folder
    that they share."""
    with _shared_folder() as folder:
        if not _FORKS:
            yield folder
            return
        # The folder that the command was started from may hold modules of the same names as ours.
        before = os.environ.get(_SAFE_PATH)
        os.environ[_SAFE_PATH] = "1"
        try:
            forking.set_forkserver_preload([_IMPORTED])
            ensure_running()
            yield folder
        finally:
            del os.environ[_SAFE_PATH]
            if before is not None:
                os.environ[_SAFE_PATH] = before


@contextmanager
def _shared_folder() -> Iterator[Path]:
    """A folder in which every process keeps what it counts, so that each can tell of all of them: what a process that
    has ended counted stays in the sums. Those of services that were killed are removed."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    os.environ[METRICS_DIR] = str(folder)
    try:
        making = folder / f".{_OWNED}"
        with making.open("w") as owned:
            flock(owned, LOCK_EX | LOCK_NB)  # until this process ends, however it does
            making.rename(folder / _OWNED)  # its name appears once it is locked
            yield folder
    finally:
        del os.environ[METRICS_DIR]
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Removes the folders whose service has ended and left them. One that was made this moment is not owned yet, and
    has no lock to take."""
    for owned in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*/{_OWNED}"):
        with suppress(OSError), owned.open("r+") as file:  # another's, which is taken or may not be touched
            flock(file, LOCK_EX | LOCK_NB)
            shutil.rmtree(owned.parent)
