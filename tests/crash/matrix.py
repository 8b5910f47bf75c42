"""kill -9 at every failpoint of a whole life: what was acknowledged is there, and all ends as undisturbed.

The life is lived once without a disturbance, and the data folder is copied before each of its stages. Its journal says
which points each stage reaches. Then every stage is lived again from the copy once for each of its points, where a
process dies, and must end as it did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from app.failpoints import Failpoint, ProcessKind, Trigger
from tests.crash import state
from tests.crash.arrangements import Arrangement, Distributed, Embedded, Saboteur, Server, distributed
from tests.crash.forked import ForkedService
from tests.crash.life import LIFE, Stage
from tests.crash.user import Ledger, PersistentUser, Reader
from tests.zygote import Zygote

Reached = tuple[ProcessKind, Failpoint]


@dataclass(frozen=True)
class EndOfStage:
    """All that is compared when a stage is over."""

    seen: dict[str, Any]
    stored: dict[str, Any]
    jobs: Counter[tuple[str, str]]
    layout: Counter[str]

    @classmethod
    def of(cls, service: ForkedService) -> EndOfStage:
        """Of a service that stands still, after a start: what is left on disk is swept then."""
        service.kill()
        service.start()
        seen = state.seen(service.url)
        service.kill()
        with closing(service.database()) as database:
            jobs, left = state.jobs(database), state.leftovers(service.data, database)
        assert left == [], f"left behind: {left}"
        return cls(seen, state.stored(service.data), jobs, state.layout(service.data))

    def differences(self, other: EndOfStage) -> list[str]:
        """Where two ends differ, in words."""
        return [
            f"{name}: {found}"
            for name in ("seen", "stored", "jobs", "layout")
            for found in _differences(getattr(self, name), getattr(other, name))
        ]


@dataclass(frozen=True)
class LivedStage:
    """A stage of the undisturbed life: where its data folder lies, how it began and ended, and what it reached."""

    stage: Stage
    begins: Path
    ledger: Ledger
    before: dict[str, Any]
    end: EndOfStage
    reached: Counter[Reached]

    @property
    def effort(self) -> tuple[int, int]:
        """Says which of two stages takes longer to live again: by the jobs that are worked on, and by what else is."""
        return self.reached["worker", Failpoint.LEASE_CLAIMED], self.reached.total()


@dataclass(frozen=True)
class Case:
    """One death in one stage."""

    lived: LivedStage
    trigger: Trigger
    server: Server | None = None
    """Killed in place of the process, which stops meanwhile."""

    def __str__(self) -> str:
        return f"{self.lived.stage.name}: {self.trigger}{f' of {self.server}' if self.server else ''}"


@dataclass
class Verdict:
    """What a case came to; `faults` is empty where all is as it should be. reached: whether the point was, as often as
    is asked for."""

    case: Case
    deaths: int
    searches: int
    reached: bool = False
    faults: list[str] = field(default_factory=list)


def live(zygote: Zygote, arrangement: Arrangement, folder: Path, life: Sequence[Stage] = LIFE) -> list[LivedStage]:
    """Lives undisturbed, and keeps a copy of the data folder as it was before each stage."""
    (folder / "life").mkdir(parents=True)
    service, ledger, lived = ForkedService(zygote, folder / "life", arrangement), Ledger(), list[LivedStage]()
    service.start()
    service.kill()
    for number, stage in enumerate(life):
        before = lived[-1].end.seen["searches"] if lived else {}
        with closing(PersistentUser(service.url, service.revive, ledger)) as user:
            if stage.before is not None:
                service.start()
                stage.before(user, service)
                before = state.seen(service.url)["searches"]
                service.kill()
            begins, ledger_before = folder / f"stage-{number}", deepcopy(ledger)
            arrangement.copy(service.folder, begins)
            service.journal.unlink(missing_ok=True)
            service.start()
            stage.act(user, service)
        end, reached = EndOfStage.of(service), journal(service.journal)
        lived.append(LivedStage(stage, begins, ledger_before, before, end, reached))
    assert service.deaths == 0
    return lived


def journal(path: Path) -> Counter[Reached]:
    """How often which kind of process reached which point."""
    lines = (line.split() for line in path.read_text().splitlines())
    return Counter((cast(ProcessKind, kind), Failpoint(point)) for kind, point in lines)


SERVERS: tuple[Server, ...] = ("redis", "postgresql")
ACKNOWLEDGING = (Failpoint.SQL_COMMITTED, Failpoint.ROWS_UPSERTED, Failpoint.ROWS_DELETED)
"""After these, a request is done, and its client does not know."""


def bounded(lived: Sequence[LivedStage]) -> list[Case]:
    """One case for each point and kind of process that reaches it, in the stage that takes least, or for what is
    reached after a time, in the stage where that is most often; and, in every stage, the deaths of the gateway between
    what it has done and its answer."""
    places: dict[Reached, LivedStage] = {}
    for one in sorted(lived, key=lambda stage: stage.effort):
        for reached, count in one.reached.items():
            first = places.setdefault(reached, one)
            if reached[1] is Failpoint.LEASE_RENEWED and count > first.reached[reached]:
                places[reached] = one
    cases = {(one.stage.name, *reached): one for reached, one in places.items()}
    for one in lived:
        for point in ACKNOWLEDGING:
            if ("gateway", point) in one.reached:
                cases[one.stage.name, "gateway", point] = one
    return [Case(one, Trigger(point, kind, 1, "kill")) for (_, kind, point), one in cases.items()]


def every(lived: Iterable[LivedStage], times: int) -> list[Case]:
    """Every point in every stage, the first `times` times."""
    return [
        Case(one, Trigger(point, kind, number, "kill"))
        for one in lived
        for (kind, point), count in one.reached.items()
        for number in range(1, min(count, times) + 1)
    ]


def of_servers(cases: Iterable[Case]) -> Iterator[Case]:
    """The same cases, but that in place of the process each server dies."""
    for case in cases:
        for server in SERVERS:
            yield Case(case.lived, replace(case.trigger, action="stop"), server)


BY_THE_CLOCK = (Failpoint.LEASE_RENEWED,)
"""Reached from time to time: a stage that is quick, or a heartbeat that is slow to be woken, may pass without."""
_TIMES = 10


def disturb(zygote: Zygote, arrangement: Arrangement, folder: Path, case: Case) -> Verdict:
    """Lives one stage again, with a death in it; several times where the point is one that may not be reached."""
    for time in range(_TIMES):
        verdict = _lived_again(zygote, arrangement, folder / str(time), case)
        if verdict.reached or case.trigger.point not in BY_THE_CLOCK:
            break
    if not verdict.reached:
        verdict.faults.append(f"was not reached {case.trigger.time} times")
    return verdict


def _lived_again(zygote: Zygote, arrangement: Arrangement, folder: Path, case: Case) -> Verdict:
    folder.mkdir(parents=True)
    arrangement.copy(case.lived.begins, folder)
    service = ForkedService(zygote, folder, arrangement, case.trigger)
    ledger = deepcopy(case.lived.ledger)
    verdict = Verdict(case, 0, 0)
    allowed = partial(state.scores_allowed, case.lived.before, case.lived.end.seen["searches"])
    reader = Reader(service.url, state.QUERIES, ledger, allowed, servers_die=case.server is not None)
    try:
        if case.server is not None:
            assert isinstance(arrangement, Distributed)
            Saboteur(arrangement, case.server, service.stopped).start()
        service.start()
        reader.start()
        with closing(PersistentUser(service.url, service.revive, ledger)) as user:
            case.lived.stage.act(user, service)
        reader.stop()
        verdict.faults += EndOfStage.of(service).differences(case.lived.end)
    except AssertionError as error:
        verdict.faults.append(str(error))
    finally:
        reader.stop()
        service.kill()
    verdict.faults += reader.wrong[:5]
    verdict.deaths, verdict.searches = service.deaths, reader.answered
    verdict.reached = journal(service.journal)[case.trigger.kind, case.trigger.point] >= case.trigger.time
    if not verdict.faults:
        arrangement.forget(folder)
    return verdict


def _differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from _differences(one.get(key), other.get(key), f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (here, there) in enumerate(zip(one, other, strict=True)):
            yield from _differences(here, there, f"{place}/{number}")
    elif one != other:
        yield f"{place} is {str(one)[:300]}, and was {str(other)[:300]}"


def main() -> int:
    """Prints every case and what it came to. The exit status is 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrangement", choices=["embedded", "distributed", "both"], default="both")
    parser.add_argument("--times", type=int, default=2, help="the first so many times that a stage reaches a point")
    parser.add_argument("--bounded", action="store_true", help="each point once, not in every stage")
    parser.add_argument("--no-servers", action="store_true", help="Redis and PostgreSQL stay alive")
    parser.add_argument("--only", default="", help="cases whose description holds this text")
    asked = parser.parse_args()
    wrong = 0
    with (
        tempfile.TemporaryDirectory(prefix="crosswalk-crash-") as folder,
        closing(Zygote("tests.crash.programs")) as zygote,
    ):
        if asked.arrangement != "distributed":
            wrong += _run(asked, zygote, Embedded(), Path(folder) / "embedded")
        if asked.arrangement != "embedded":
            with distributed() as arrangement:
                wrong += _run(asked, zygote, arrangement, Path(folder) / "distributed")
    return int(wrong > 0)


def _run(asked: argparse.Namespace, zygote: Zygote, arrangement: Arrangement, folder: Path) -> int:
    """Runs the cases asked for in one arrangement; how many had a fault."""
    lived = live(zygote, arrangement, folder)
    cases = bounded(lived) if asked.bounded else every(lived, asked.times)
    if isinstance(arrangement, Distributed) and not asked.no_servers:
        cases += list(of_servers(bounded(lived)))
    chosen = [case for case in cases if asked.only in str(case)]
    wrong = searches = 0
    for number, case in enumerate(chosen, 1):
        verdict = disturb(zygote, arrangement, folder / f"case-{number}", case)
        wrong, searches = wrong + bool(verdict.faults), searches + verdict.searches
        print(f"{number}/{len(chosen)} {folder.name}: {case}: {'WRONG' if verdict.faults else 'right'}", flush=True)
        for fault in verdict.faults:
            print(f"    {fault[:1_000]}", flush=True)
    print(f"{folder.name}: {len(chosen)} deaths, {searches} searches meanwhile, {wrong} lives that ended otherwise")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
