"""How long the gateway takes to start, against the time that its imports alone take, and what it holds when idle.

    python -m benchmarks.gateway_start [--runs 5]

Start: from the process's beginning to the first answer of /readyz, worker included. Both are timed in turn on the same
machine, each in processes of their own; medians are compared. Memory: resident bytes two seconds after that answer.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import httpx
import psutil
from rich.console import Console
from rich.table import Table

_IMPORTS = "import app.cli.service, workers.runtime.celery"
_IDLE_AFTER_SECONDS = 2.0
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}


@dataclass(frozen=True)
class Start:
    """Seconds until ready, and resident MiB once idle."""

    seconds: float
    mib: float


def imports_alone() -> float:
    """Seconds of a process that imports what the gateway imports, and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], env=_ENVIRONMENT, check=True)
    return time.perf_counter() - began


def start() -> Start:
    """One start of a gateway that has no data yet, which migrates too."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--data-dir", folder]
        began = time.perf_counter()
        process = subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/readyz")
            seconds = time.perf_counter() - began
            time.sleep(_IDLE_AFTER_SECONDS)
            return Start(seconds, psutil.Process(process.pid).memory_info().rss / 2**20)
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    with httpx.Client() as client:
        while process.poll() is None:
            try:
                if client.get(url).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.01)
    raise RuntimeError(f"the gateway ended with status {process.returncode} before it was ready")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    imports_alone()  # compiles what is not compiled yet
    imports, starts = [], []
    for _ in range(runs):
        imports.append(imports_alone())
        starts.append(start())
    base, ready = statistics.median(imports), statistics.median(one.seconds for one in starts)
    mib = max(one.mib for one in starts)
    table = Table(title=f"Start of the gateway, medians of {runs}")
    for heading in ("what", "measured", "bound"):
        table.add_column(heading)
    table.add_row("imports alone", f"{base:.2f} s", "")
    table.add_row("ready", f"{ready:.2f} s", "")
    table.add_row("ready / imports", f"{ready / base:.2f}", "3.00")
    table.add_row("resident when idle (largest)", f"{mib:.0f} MiB", "300 MiB")
    Console().print(table)
    return 0 if ready < 3 * base and mib < 300 else 1


if __name__ == "__main__":
    sys.exit(main())
