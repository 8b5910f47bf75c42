"""`python -m tests.chaos.run`: faults under load for some minutes, and what a checker of the history says.

Exits with status 1 where anything was lost, stale or of a wrong space; then the history, the logs and the data stay.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.chaos import workload
from tests.chaos.caller import Caller
from tests.chaos.checker import Kind, Truth, Violation, check
from tests.chaos.cluster import ARRANGEMENTS, GATEWAYS, Arrangement, Cluster, cluster, folder_for
from tests.chaos.crossings import crossings
from tests.chaos.history import SETTLED, History, Operation, Other
from tests.chaos.nemesis import Nemesis
from tests.waiting import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True)
class Plan:
    """seconds: of load. clients: beside the operator. every, pause: seconds from one fault or one call to the next."""

    seconds: float
    seed: int
    clients: int = 4
    every: tuple[float, float] = (0.8, 2.0)
    pause: tuple[float, float] = (0.02, 0.15)


@dataclass(frozen=True)
class Result:
    """What happened: faults by kind, operations by kind and outcome, upgrades by state, and what was wrong."""

    arrangement: Arrangement
    seed: int
    folder: Path
    seconds: float
    faults: Counter[str]
    operations: Counter[tuple[str, str]]
    upgrades: Counter[str]
    violations: list[Violation]

    def told(self) -> str:
        counted = Counter(violation.kind for violation in self.violations)
        lines = [f"{self.arrangement}, seed {self.seed}: {self.seconds:.0f} s, {self.faults.total()} faults"]
        lines += [f"  {count:6} {name}" for name, count in sorted(self.faults.items())]
        lines.append(f"  {self.operations.total()} operations")
        lines += [f"  {count:6} {kind} {outcome}" for (kind, outcome), count in sorted(self.operations.items())]
        lines.append("  upgrades: " + ", ".join(f"{count} {state}" for state, count in sorted(self.upgrades.items())))
        lines += [f"  {sum(counted[kind] for kind in kinds):6} {name}" for name, kinds in _FIGURES.items()]
        for violation in self.violations[:_SHOWN]:
            one = violation.operation
            lines.append(f"  ! {violation.kind} at {one.began:.3f}–{one.ended:.3f} by {one.client}: {violation.detail}")
            lines.append(f"    {str(one.what)[:400]} {one.text[:400]}")
        return "\n".join(lines)


_SHOWN = 20
_FIGURES: dict[str, tuple[Kind, ...]] = {
    "losses": ("lost write", "resurrected delete", "wrong count"),
    "wrong-space answers": ("wrong space", "never written", "wrong generation"),
    "stale reads": ("stale read",),
    "torn reads": ("torn read",),
    "wrong orders": ("wrong order",),
    "server errors": ("server error",),
}


def chaos(arrangement: Arrangement, plan: Plan, folder: Path) -> Result:
    """One run in a folder. Whatever goes wrong in the harness itself is raised."""
    history, stage = _history(folder), workload.Stage()
    with cluster(arrangement, folder) as everything:
        first = Caller("first", everything, history, plan.seed)
        workload.prepare(first)
        workload.open_gallery(first, stage)
        workload.upgrade(first, stage.galleries[0], threading.Event())  # in peace: there is something to switch to
        nemesis = Nemesis(everything, plan.seed, plan.every)
        began = time.monotonic()
        nemesis.start()
        try:
            _load(everything, history, stage, plan)
        finally:
            nemesis.stop()
        if nemesis.failed:
            raise RuntimeError("a fault could not be undone") from nemesis.failed[0]
        seconds = time.monotonic() - began
        for program in everything.programs:
            program.keep_up()
        upgrades = _ended_upgrades(everything)
        workload.look_at_everything(first, stage, GATEWAYS)
        first.close()
        operations = history.close()
        truth = Truth(_generations(everything, stage), crossings(everything.data), everything.deaths())
        violations = check(operations, truth)
    counted = Counter(_kind_and_outcome(operation) for operation in operations)
    return Result(arrangement, plan.seed, folder, seconds, nemesis.faults, counted, upgrades, violations)


def _kind_and_outcome(operation: Operation) -> tuple[str, str]:
    """Such as `Put`, `ok`. No outcome is told from another by more than clients can tell."""
    kind = operation.what.name if isinstance(operation.what, Other) else type(operation.what).__name__
    if operation.status is None:
        return kind, "nobody there" if operation.outcome == "refused" else "broken off"
    return kind, operation.outcome if operation.outcome == "ok" else str(operation.status)


def _history(folder: Path) -> History:
    folder.mkdir(parents=True, exist_ok=True)
    return History(folder / "history.jsonl")


def _load(everything: Cluster, history: History, stage: workload.Stage, plan: Plan) -> None:
    """Clients and the operator, for as long as is planned. Raises the first error of any of them."""
    until, failed = threading.Event(), list[BaseException]()

    def guarded(do: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                do()
            except BaseException as error:
                failed.append(error)
                until.set()

        return run

    callers = [Caller(f"client {number}", everything, history, plan.seed) for number in range(plan.clients)]
    operator = Caller("operator", everything, history, plan.seed)
    work = [guarded(partial(workload.work, one, stage, until, plan.pause)) for one in callers]
    work.append(guarded(partial(workload.operate, operator, stage, until)))
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    until.wait(plan.seconds)
    until.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _ended_upgrades(everything: Cluster) -> Counter[str]:
    """How many upgrades are in each state, once all have ended."""
    listed: list[str] = []

    def ended() -> bool:
        listed[:] = [one["state"] for one in _all(everything, "/upgrades")]
        return all(state in SETTLED for state in listed)

    wait_until(ended, "every upgrade to end", last=lambda: Counter(listed))
    return Counter(listed)


def _generations(everything: Cluster, stage: workload.Stage) -> dict[str, dict[int, str]]:
    return {
        gallery: {
            one["number"]: one["upgrade"] for one in _get(everything, f"/galleries/{gallery}/generations")["items"][1:]
        }
        for gallery in stage.galleries
    }


def _all(everything: Cluster, url: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = _get(everything, f"{url}?limit=100{f'&cursor={cursor}' if cursor else ''}")
        listed += page["items"]
        if page["next_cursor"] is None:
            return listed
        cursor = page["next_cursor"]


def _get(everything: Cluster, url: str) -> dict[str, Any]:
    """What the first gateway answers, which may have been started again a moment ago."""

    def answered() -> httpx.Response | None:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{everything.gateways[0].url}{url}", timeout=PATIENCE_SECONDS)
            return answer if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR else None
        return None

    answer = wait_until(answered, f"GET {url} to be answered")
    assert answer is not None
    return dict(answer.raise_for_status().json())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of load in each arrangement")
    parser.add_argument("--seed", type=int, default=None, help="of the faults and the calls; left out, a new one")
    parser.add_argument("--arrangement", choices=ARRANGEMENTS, default=None, help="left out: one after the other")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    right = True
    for arrangement in [given.arrangement] if given.arrangement else ARRANGEMENTS:
        folder = folder_for(arrangement)
        print(f"{arrangement}: seed {seed}, in {folder}", flush=True)
        result = chaos(arrangement, Plan(60 * given.minutes, seed), folder)
        print(result.told(), flush=True)
        if result.violations:
            right = False
            print(f"  history.jsonl, the logs and the data stay in {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
