"""Drawing charts as SVG in a process of its own, which ends with it (`chart_process`)."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.artifacts.charts import Drawings, chart_key
from app.upgrades.report_charts import Spec

_SECONDS = 120.0  # takes about one, and a tenth for each chart; more on a busy machine
_PACKAGES = Path(__file__).resolve().parents[2]


class ChartsNotDrawn(RuntimeError):
    """The process that was to draw charts did not; says what it left on its standard error."""


def draw(charts: Sequence[Spec]) -> Drawings:
    """The charts as SVG elements, in which texts are escaped. Raises ChartsNotDrawn; none is drawn then."""
    if not charts:
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "app.upgrades.chart_process"],
            input=json.dumps(charts).encode(),
            capture_output=True,
            timeout=_SECONDS,
            env=os.environ | {"PYTHONPATH": str(_PACKAGES)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChartsNotDrawn(f"drawing {len(charts)} charts took more than {_SECONDS:.0f} seconds") from None
    if done.returncode != 0:
        raise ChartsNotDrawn(f"drawing ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return dict(zip(map(chart_key, charts), json.loads(done.stdout), strict=True))
