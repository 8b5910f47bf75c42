"""kill -9 at every failpoint of a whole life: what was acknowledged is there, and all ends as undisturbed.

The life is lived once without a disturbance, and the data folder is copied before each of its stages. Its journal says
which points each stage reaches. Then every stage is lived again from the copy once for each of its points, where a
process dies, and must end as it did.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, cast

from app.failpoints import Failpoint, ProcessKind, Trigger
from tests.crash import state
from tests.crash.forked import ForkedService
from tests.crash.life import LIFE, Stage
from tests.crash.user import Ledger, PersistentUser, Reader
from tests.crash.zygote import Zygote

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
        """Of a service that stands still; killed and started, since what is left on disk is swept at its start."""
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
    seconds: float


@dataclass(frozen=True)
class Case:
    """One death in one stage."""

    lived: LivedStage
    trigger: Trigger

    def __str__(self) -> str:
        return f"{self.lived.stage.name}: {self.trigger}"


@dataclass
class Verdict:
    """What a case came to; `faults` is empty where all is as it should be."""

    case: Case
    deaths: int
    searches: int
    faults: list[str] = field(default_factory=list)


def live(zygote: Zygote, folder: Path, life: Sequence[Stage] = LIFE) -> list[LivedStage]:
    """Lives undisturbed, and keeps a copy of the data folder as it was before each stage."""
    service, ledger, lived = ForkedService(zygote, folder / "life"), Ledger(), []
    service.folder.mkdir(parents=True)
    for number, stage in enumerate(life):
        service.start()
        with closing(PersistentUser(service.url, service.revive, ledger)) as user:
            stage.before(user, service)
            before = state.seen(service.url) if number else {"resources": {}, "searches": {}}
            service.kill()
            begins, ledger_before = folder / f"stage-{number}", deepcopy(ledger)
            shutil.copytree(service.data, begins)
            service.journal.unlink(missing_ok=True)
            began = monotonic()
            service.start()
            stage.act(user, service)
        seconds = monotonic() - began
        end, reached = EndOfStage.of(service), journal(service.journal)
        lived.append(LivedStage(stage, begins, ledger_before, before["searches"], end, reached, seconds))
    assert service.deaths == 0
    return lived


def journal(path: Path) -> Counter[Reached]:
    """How often which kind of process reached which point."""
    lines = (line.split() for line in path.read_text().splitlines())
    return Counter((cast(ProcessKind, kind), Failpoint(point)) for kind, point in lines)


ACKNOWLEDGING = (Failpoint.SQL_COMMITTED, Failpoint.ROWS_UPSERTED, Failpoint.ROWS_DELETED)
"""After these, a request is done, and its client does not know."""


def bounded(lived: Sequence[LivedStage]) -> list[Case]:
    """One case for each point and kind of process that reaches it, in the stage that takes least time; and, in every
    stage, the deaths of the gateway between what it has done and its answer."""
    places: dict[Reached, LivedStage] = {}
    for one in sorted(lived, key=lambda stage: stage.seconds):
        for reached in one.reached:
            places.setdefault(reached, one)
    cases = {(one.stage.name, *reached): one for reached, one in places.items()}
    for one in lived:
        for point in ACKNOWLEDGING:
            if ("gateway", point) in one.reached:
                cases[one.stage.name, "gateway", point] = one
    return [Case(one, Trigger(point, kind, 1, "kill")) for (_, kind, point), one in cases.items()]


def every(lived: Iterable[LivedStage], times: int) -> Iterator[Case]:
    """Every point in every stage, the first `times` times."""
    for one in lived:
        for (kind, point), count in one.reached.items():
            for time in range(1, min(count, times) + 1):
                yield Case(one, Trigger(point, kind, time, "kill"))


def disturb(zygote: Zygote, folder: Path, case: Case) -> Verdict:
    """Lives one stage again, with a death in it."""
    service = ForkedService(zygote, folder, case.trigger)
    folder.mkdir(parents=True)
    shutil.copytree(case.lived.begins, service.data)
    ledger = deepcopy(case.lived.ledger)
    verdict = Verdict(case, 0, 0)
    allowed = partial(state.scores_allowed, case.lived.before, case.lived.end.seen["searches"])
    reader = Reader(service.url, state.QUERIES, ledger, allowed)
    try:
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
    counted = journal(service.journal)[case.trigger.kind, case.trigger.point]
    if counted < case.trigger.time:
        verdict.faults.append(f"was reached {counted} times only")
    if not verdict.faults:
        shutil.rmtree(folder)
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
