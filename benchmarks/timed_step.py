"""The process of one step, as `workers.runtime.step`, that also says where its processor time went.

Started by the worker of `benchmarks.time_to_verdict`; what it measured it writes to a file of its own in the folder
that the variable VERDICT_TIMES names.
"""

import cProfile
import json
import os
import pstats
import resource
import sys
import time
from pathlib import Path

import psutil

from workers.runtime.program import CROSSWALK
from workers.runtime.step import main
from workers.steps import STEPS

FOLDER = "VERDICT_TIMES"
OUR_OWN = ("models", "workers", "app")


def _functions(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds by function of ours, those that it called included, as `models/proof/crossing.py:prove`."""
    ours = tuple(f"{Path.cwd()}/{room}/" for room in OUR_OWN)
    times: dict[str, float] = {}
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if file.startswith(ours):  # quickly: the supervisor waits only moments for a process whose step has ended
            key = f"{file.removeprefix(f'{Path.cwd()}/')}:{name}"
            times[key] = max(times.get(key, 0.0), cumulative)
    return times


def _measured(arguments: list[str]) -> int:
    """Does the step; of the profile, seconds are of the processor, in all of the process's threads."""
    began, cpu = time.time(), time.process_time()
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    status = main(CROSSWALK, arguments)
    profile.disable()
    process, functions = psutil.Process(), _functions(profile)
    found = {
        "step": next(name for name, module in STEPS.items() if f"{module.replace('.', '/')}.py:run" in functions),
        "started": process.create_time(),
        "began": began,
        "ended": time.time(),
        "cpu_before": cpu,
        "cpu": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "functions": functions,
    }
    (Path(os.environ[FOLDER]) / f"{arguments[0]}.json").write_text(json.dumps(found))
    return status


if __name__ == "__main__":
    sys.exit(_measured(sys.argv[1:]))
