"""The sample program where a step's process takes long to start: it waits for a gate before it does anything."""

import sys
import time

from app.settings import Settings
from tests.workers.sample import SAMPLE, gate
from workers.runtime import step
from workers.runtime.program import Program

SLOW = Program("tests.workers.slow", SAMPLE.steps, SAMPLE.failed)

if __name__ == "__main__":
    while not gate(Settings(), "start").exists():
        time.sleep(0.01)
    sys.exit(step.main(SLOW, sys.argv[1:]))
