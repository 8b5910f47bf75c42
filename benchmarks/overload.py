"""What more load than it can bear does to a gateway: what it takes, how long that takes, and whether health is told.

    python -m benchmarks.overload [--items 20000] [--dimension 128] [--seconds 5] [--times 2,4]

First the capacity: `GET /search` over 64 connections, each of which asks again as soon as it was answered. Then so many
times as much is offered, by clients that do not wait for one another, and `GET /healthz` is asked 50 times a second
beside it. The client is this process, on the same machine: what it takes, the gateway lacks, and refusals cost both of
them something; so capacity is measured anew with each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.http_load import get, load
from benchmarks.http_offered import offered
from benchmarks.index_speed import data
from benchmarks.search import QUERIES, K, fill, server

_CONNECTIONS = 64
_CLIENTS = 800
_PAUSE_SECONDS = 3.0  # in which the queue that the last clients left becomes empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--times", type=lambda text: [float(part) for part in text.split(",")], default=[0.5, 2.0, 4.0])
    parser.add_argument("--port", type=int, default=9_395)
    chosen = parser.parse_args()
    rows, queries = data(chosen.items, chosen.dimension, QUERIES)
    query = f"/search?gallery=g&model=m&k={K}"
    singles = [get(f"{query}&vector={urlsafe_b64encode(vector.tobytes()).decode()}") for vector in queries]
    table = Table(title=f"{chosen.items:,} × {chosen.dimension}, cosine, k = {K}; {chosen.seconds:g} s each")
    headings = (
        "capacity, req/s",
        "offered, req/s",
        "accepted, req/s",
        "of capacity",
        "p50 ms",
        "p99 ms",
        "refused, req/s",
    )
    for heading in (*headings, "healthz p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        gateway = ["-m", "app.cli", "serve", "--port", str(chosen.port), "--data-dir", folder]
        with server(gateway, chosen.port, "/readyz"):
            fill(chosen.port, rows, Path(folder))
            load(chosen.port, singles, 8, 2)
            for times in chosen.times:
                time.sleep(_PAUSE_SECONDS)
                capacity = load(chosen.port, singles, _CONNECTIONS, chosen.seconds).rate
                told = offered(chosen.port, singles, times * capacity, _CLIENTS, chosen.seconds, get("/healthz"))
                accepted, probes = told.accepted, told.probes
                health = (f"{probes.p50:.1f}", f"{probes.p99:.1f}") if probes else ("", "")
                table.add_row(
                    f"{capacity:,.0f}",
                    f"{times * capacity:,.0f} ({times:g} ×)",
                    f"{accepted.rate:,.0f}",
                    f"{accepted.rate / capacity:.2f}",
                    f"{accepted.p50:.0f}",
                    f"{accepted.p99:.0f}",
                    f"{told.refused:,.0f}",
                    *health,
                )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
