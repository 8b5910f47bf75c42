"""The `crosswalk` command from its start to its end, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.waiting import wait_until
from tests.zygote import crosswalk_zygote


def run_command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What it printed and how it ended, with no other settings in its environment than these variables.

    It is forked from a process that has imported what it imports, which takes longer than what most commands do.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
    with tempfile.TemporaryDirectory(prefix="crosswalk-command-") as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        pid = crosswalk_zygote().start(arguments, ours | variables, output, errors)
        statuses: list[int] = []

        def ended() -> bool:
            status = crosswalk_zygote().status(pid)
            statuses.extend([] if status is None else [status])
            return bool(statuses)

        wait_until(ended, f"crosswalk {' '.join(arguments)} to end", last=errors.read_text)
        return subprocess.CompletedProcess(arguments, statuses[0], output.read_text(), errors.read_text())
