"""The table of steps: each names a module that a process of its own can load, with no more than it needs."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_SECONDS
from workers.steps import STEPS

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = {
    "embed_pairs",
    "backfill",
    "sample",
    "transform",
    "transform_part",
    "index",
    "reindex",
    "drop_target",
    "settle_store",
    "follow",
}
"""What they would wait for torch is longer than many of them take."""

LOADING = """
import importlib, os, sys
import app.composition  # what all of them import, once
for step, module in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:
        loaded = callable(importlib.import_module(module).run)
        print(step, loaded, "torch" in sys.modules, flush=True)
        os._exit(0)
    os.wait()
"""
"""Each in a process of its own, forked from one that has what they have in common."""


def test_each_step_loads_in_a_process_of_its_own_and_torch_only_where_it_learns_or_measures() -> None:
    command = [sys.executable, "-P", "-c", LOADING, *(text for step in STEPS.items() for text in step)]
    environment = {"PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output(command, env=environment, timeout=PATIENCE_SECONDS, text=True)
    expected = [f"{step} True {step not in WITHOUT_TORCH}" for step in STEPS]
    assert printed.splitlines() == expected
