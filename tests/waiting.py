"""Waits that end when something has happened, and the one setting for how long nothing may happen.

A limit here is no expectation of speed: it is the time after which a test gives up, far beyond what a slow machine
with other work needs. `CROSSWALK_TEST_PATIENCE` multiplies every limit: 2 gives up after twice as long.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 300.0 * float(os.environ.get("CROSSWALK_TEST_PATIENCE", "1"))
"""Seconds after which whatever is waited for is taken to have failed: an answer, a process's start or end."""

PATIENT = {
    f"CROSSWALK_{name}": str(PATIENCE_SECONDS)
    for name in ("DATABASE_SECONDS", "MILVUS_TIMEOUT_SECONDS", "QUEUE_SECONDS", "RERANKED_SECONDS")
}
"""Settings of a service under test, as variables: how long a request waits before it is refused or answered otherwise.
By default seconds, which pass on a busy machine while nothing is wrong; tests of what happens then set their own."""

_LOOK_SECONDS = 0.05

Seen = TypeVar("Seen")


def wait_until(
    look: Callable[[], Seen], what: str, seconds: float = PATIENCE_SECONDS, *, last: Callable[[], object] | None = None
) -> Seen:
    """The first true thing that `look` returns. Fails after `seconds`, naming what was waited for.

    last: tells what stood in the way, for the message of a failure.
    """
    began = time.monotonic()
    while not (seen := look()):
        if time.monotonic() - began > seconds:
            state = f"; the last state: {last()}" if last is not None else ""
            raise AssertionError(f"waited {seconds:.0f} seconds in vain for {what}{state}")
        time.sleep(_LOOK_SECONDS)
    return seen
