"""How much of a machine's processors a step may take from what else runs there."""

import os
import sys
from contextlib import suppress
from pathlib import Path

_NICENESS = 10


def give_way() -> None:
    """Lets this process run where others leave time: searches on the same machine come first, while an index is built
    that only makes them faster later."""
    os.nice(_NICENESS)
    if sys.platform == "linux":
        # Where Linux schedules by session (sched(7), autogroup), and a step is one, that alone would say nothing.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_NICENESS))
