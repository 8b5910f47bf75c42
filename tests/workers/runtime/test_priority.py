"""A step that nobody waits for leaves the processors to those that somebody does."""

import os
import subprocess
import sys


def test_a_process_that_gives_way_comes_after_others() -> None:
    asked = "from workers.runtime.priority import give_way; give_way(); import os; print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, start_new_session=True)
    assert int(done.stdout) == min(19, os.nice(0) + 10)
