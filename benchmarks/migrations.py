"""A table of migrations: what the service says of each beforehand, against what a full evaluation then finds.

    python -m benchmarks.migrations --data DIR [--only PART] [--jobs 2] [--rows FILE]

The migrations are those of `benchmarks.migration_plan`: real models and simpler ones, texts and images, pairs chosen by
`sample` and at random, with classes or labels missing, noise, a worse new model, a good old one. Of each the crossing
is selected, proved and advised on by the functions that the steps of an upgrade call (`auto`, gate: better than the old
model), from pairs and gallery alone. Then queries that nothing has seen search the whole gallery by every way.

*held*: whether the 95 % interval holds what is measured. That of a difference is one of the true difference; the ± in
the table is 1.96 standard errors of what the fresh queries measure of it. *right*, beyond doubt: to upgrade, where the
better of the crossing and of both models' queries fused gains at least a point over the old model and its interval,
paired over the fresh queries, is above 0; to stay, where that interval is below a point. Elsewhere the full evaluation
itself cannot tell. *rather*: the better bet, which a report names where it cannot tell. Rows are appended to a file as
they are measured: a run that was interrupted resumes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.migration_plan import PLAN, PlannedMigration, posed
from benchmarks.migration_row import CheckedMigration, checked
from benchmarks.migration_tables import markdown, summary, table


def measured(planned: PlannedMigration, data: Path) -> CheckedMigration:
    return checked(planned, posed(planned, data))


def known_rows(path: Path) -> dict[str, CheckedMigration]:
    """The rows of the file, by name; of several with one name, the last."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [CheckedMigration.from_json(json.loads(line)) for line in lines]
    return {row.name: row for row in rows}


def each_measured(planned: Sequence[PlannedMigration], data: Path, jobs: int) -> Iterator[CheckedMigration]:
    """In any order, `jobs` at a time, each in one thread."""
    work = partial(measured, data=data)
    if jobs == 1:
        torch.set_num_threads(1)
        yield from map(work, planned)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap_unordered(work, planned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", default="", help="a part of the migrations' names")
    parser.add_argument("--jobs", type=int, default=1, help="migrations measured at a time")
    parser.add_argument("--rows", type=Path, default=Path("migrations.jsonl"), help="measured rows, one a line")
    parser.add_argument("--markdown", action="store_true", help="prints the table as Markdown")
    options = parser.parse_args()
    console, known = Console(width=200), known_rows(options.rows)
    asked = [each for each in PLAN if options.only in each.name]
    missing = [each for each in asked if each.name not in known]
    for row in each_measured(missing, options.data, options.jobs):
        known[row.name] = row
        with options.rows.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        console.print(f"{row.name}: said {row.said}, right {row.right}, {row.seconds:.0f} s", highlight=False)
    rows = [known[each.name] for each in asked]
    if options.markdown:
        print(markdown(rows))
    else:
        console.print(table(rows))
    for line in summary(rows):
        console.print(line, highlight=False)


if __name__ == "__main__":
    main()
