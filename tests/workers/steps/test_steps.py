"""The table of steps: each names a module that a process of its own can load, with no more than it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_SECONDS
from workers.steps import STEPS

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = {"sample", "transform", "transform_part", "index", "reindex"}
"""What they would wait for torch is longer than many of them take."""


@pytest.mark.parametrize("step", STEPS)
def test_a_step_loads_in_a_process_of_its_own_and_torch_only_where_it_learns_or_measures(step: str) -> None:
    script = f"import sys; from {STEPS[step]} import run; print('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", script]
    printed = subprocess.check_output(command, env=environment, timeout=PATIENCE_SECONDS, text=True)
    assert printed.strip() == str(step not in WITHOUT_TORCH)
