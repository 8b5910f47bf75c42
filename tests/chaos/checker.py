"""Checks a whole history: items and galleries' pointers as registers, every score against the truth of the vectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos import gallery_register, item_register
from tests.chaos.history import SETTLED, Delete, Found, Hit, Looked, Operation, Other, Put, Read, Search, Seen, Start
from tests.chaos.item_register import Moment, State, Stored
from tests.chaos.linearizability import Step, impossible
from tests.chaos.scores import Crossings, Origin, Writes, confused, origins
from tests.chaos.vectors import Model, vector

Kind = Literal[
    "lost write", "resurrected delete", "stale read", "wrong space", "never written", "torn read", "wrong count",
    "wrong generation", "wrong order", "server error", "upgrade without end",
]  # fmt: skip

QUERY = "query"
"""The name under which queries' vectors are made."""

_AWAY = (502, 503, 504)


@dataclass(frozen=True)
class Violation:
    kind: Kind
    operation: Operation
    detail: str


@dataclass(frozen=True)
class Truth:
    """What the checker knows beside the history.

    generations: the upgrade that made each generation, by gallery. crossings: how upgrades carry vectors. deaths: when
    each gateway's processes ended, in order: until then, what a broken connection asked for may still happen.
    """

    generations: Mapping[str, Mapping[int, str]]
    crossings: Crossings
    deaths: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class _Said:
    """What an operation says of one item, and in which words it is told where it is impossible."""

    operation: Operation
    step: Step[State]
    seen: Literal["absent", "present", "written"]
    torn_of: bool = False
    through_index: bool = False


def check(operations: Sequence[Operation], truth: Truth) -> list[Violation]:
    """Everything in a history that no correct service could have answered."""
    return _Check(operations, truth).violations()


class _Check:
    def __init__(self, operations: Sequence[Operation], truth: Truth) -> None:
        self._operations = operations
        self._truth = truth
        self._said: dict[tuple[str, str], list[_Said]] = defaultdict(list)
        self._writes = self._all_writes()
        self._starts = self._started()
        self._found: list[Violation] = []

    def violations(self) -> list[Violation]:
        for operation in self._operations:
            if operation.status is not None and operation.status >= 500 and operation.status not in _AWAY:
                self._found.append(Violation("server error", operation, operation.text))
            for item, one in self._said_by(operation):
                self._said[item].append(one)
        for (gallery, name), said in self._said.items():
            self._found += self._impossible_of_item(f"{gallery}/{name}", said)
        self._found += self._impossible_of_galleries()
        return sorted(self._found, key=lambda violation: violation.operation.began)

    def _all_writes(self) -> dict[tuple[str, str], Writes]:
        numbers: dict[tuple[str, str], dict[Model, list[int]]] = defaultdict(lambda: {"old": [], "new": []})
        for operation in self._operations:
            if isinstance(operation.what, Put) and operation.outcome != "refused":
                for row in operation.what.rows:
                    numbers[operation.what.gallery, row.id][operation.what.model].append(row.number)
        return {
            key: Writes(
                f"{key[0]}/{key[1]}", {model: sorted(known) for model, known in by_model.items()}, self._truth.crossings
            )
            for key, by_model in numbers.items()
        }

    def _started(self) -> dict[str, list[tuple[float, float, str]]]:
        starts: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        for operation in self._operations:
            if isinstance(operation.what, Start) and operation.what.upgrade is not None:
                starts[operation.what.gallery].append((operation.began, operation.ended, operation.what.upgrade))
        return starts

    def _when(self, operation: Operation) -> Moment:
        """An operation without an answer may go on until the process that it was sent to is gone."""
        if operation.outcome != "unknown":
            return Moment(operation.began, operation.ended)
        died = next(
            (at for at in self._truth.deaths.get(operation.gateway, ()) if at >= operation.began), operation.ended
        )
        late = operation.status is None
        return Moment(operation.began, max(operation.ended, died) if late else operation.ended, certain=False)

    def _said_by(self, operation: Operation) -> Iterator[tuple[tuple[str, str], _Said]]:
        what, when = operation.what, self._when(operation)
        match what:
            case Put() if operation.outcome != "refused":
                for row in what.rows:
                    known = what.inserted is not None and len(what.rows) == 1
                    step = item_register.put(when, what.model, row, bool(what.inserted) if known else None)
                    yield (what.gallery, row.id), _Said(operation, step, "written")
            case Delete() if operation.outcome != "refused":
                for name in what.ids:
                    known = what.deleted is not None and len(what.ids) == 1
                    step = item_register.delete(when, bool(what.deleted) if known else None)
                    yield (what.gallery, name), _Said(operation, step, "written")
            case Read() if operation.outcome == "ok":
                seen = self._decoded(operation, what.gallery, what.id, what.seen)
                if seen is not _UNREADABLE:
                    step = item_register.read_whole(when, seen)
                    yield (what.gallery, what.id), _Said(operation, step, "absent" if seen is None else "present")
            case Search(found=Found() as found):
                yield from self._said_by_search(operation, what, found, when)

    def _said_by_search(
        self, operation: Operation, what: Search, found: Found, when: Moment
    ) -> Iterator[tuple[tuple[str, str], _Said]]:
        if [hit.score for hit in found.hits] != sorted((hit.score for hit in found.hits), reverse=True):
            self._found.append(Violation("wrong order", operation, "scores do not fall"))
        if len({hit.id for hit in found.hits}) != len(found.hits):
            self._found.append(Violation("wrong order", operation, "an item is named twice"))
        for hit in found.hits:
            if (what.ids is not None and hit.id not in what.ids) or (
                what.labels is not None and hit.label not in what.labels
            ):
                self._found.append(
                    Violation("never written", operation, f"{hit.id} is not what the filter lets through")
                )
                continue
            yield from self._said_by_hit(operation, what, found, hit, when)
        if len(found.hits) < what.k:  # then everything that could be found was
            named = {hit.id for hit in found.hits}
            for gallery, name in self._writes:
                if gallery == what.gallery and name not in named and (what.ids is None or name in what.ids):
                    step = item_register.not_found(when, found.generation, what.labels)
                    yield (gallery, name), _Said(operation, step, "absent", through_index=True)

    def _said_by_hit(
        self, operation: Operation, what: Search, found: Found, hit: Hit, when: Moment
    ) -> Iterator[tuple[tuple[str, str], _Said]]:
        item = (what.gallery, hit.id)
        writes = self._writes.get(item)
        sources = self._origins(operation, what, found, hit, writes) if writes else set()
        if not sources:
            how = None if writes is None else confused(writes, vector(what.model, QUERY, what.query), hit.score)
            kind: Kind = "never written" if how is None else "wrong space"
            self._found.append(Violation(kind, operation, f"{hit.id} scored {hit.score}: {how or 'by no write of it'}"))
            return
        shown, generation = (hit.payload, hit.label), found.generation
        by_vector = item_register.found_by_vector(when, generation, sources)
        yield item, _Said(operation, by_vector, "present", through_index=True)
        yield item, _Said(operation, item_register.found_with(when, *shown), "present", through_index=True)
        whole = item_register.found_whole(when, generation, sources, *shown)
        yield item, _Said(operation, whole, "present", torn_of=True, through_index=True)

    def _origins(
        self, operation: Operation, what: Search, found: Found, hit: Hit, writes: Writes | None
    ) -> set[Origin]:
        assert writes is not None
        query = vector(what.model, QUERY, what.query)
        made_by = self._truth.generations.get(what.gallery, {}).get(found.generation)
        if found.route in ("instant", "cascade"):
            return origins(writes, query, hit.score, what.model, self._pushed(operation, what.gallery), own=False)
        return origins(writes, query, hit.score, what.model, [made_by] if made_by else [], own=True)

    def _pushed(self, operation: Operation, gallery: str) -> list[str]:
        """Whose crossing may have been pushed into the query: an upgrade starts only where none before it waits."""
        starts = self._starts[gallery]
        return [
            upgrade
            for began, _, upgrade in starts
            if began <= operation.ended
            and not any(began < later and ended <= operation.began for later, ended, _ in starts)
        ]

    def _decoded(self, operation: Operation, gallery: str, name: str, seen: Seen | None) -> State:
        if seen is None:
            return None
        numbers: dict[Model, int | None] = {"old": None, "new": None}
        writes = self._writes.get((gallery, name))
        for model in numbers:
            given = next((values for key, values in seen.embeddings.items() if key.endswith(model)), None)
            if given is None:
                continue
            known = writes.numbers[model] if writes else ()
            numbers[model] = next(
                (n for n in known if tuple(vector(model, f"{gallery}/{name}", n).tolist()) == given), None
            )
            if numbers[model] is None:
                self._found.append(Violation("never written", operation, f"{name} has a vector that nobody wrote"))
                return _UNREADABLE
        label = None if seen.label is None else int(seen.label.rpartition("-")[2])
        return Stored(seen.payload, label, numbers["old"], numbers["new"])

    def _impossible_of_item(self, item: str, said: Sequence[_Said]) -> Iterator[Violation]:
        told: set[int] = set()
        parts = [one for one in said if not one.torn_of]
        for one in impossible(None, [part.step for part in parts]):
            if id(parts[one.step].operation) not in told:
                told.add(id(parts[one.step].operation))
                yield _told(item, parts[one.step], one.states)
        for one in impossible(None, [part.step for part in said]):
            if said[one.step].torn_of and id(said[one.step].operation) not in told:
                yield Violation(
                    "torn read", said[one.step].operation, f"{item}: vector and payload of different writes"
                )

    def _impossible_of_galleries(self) -> Iterator[Violation]:
        made = {upgrade: number for known in self._truth.generations.values() for number, upgrade in known.items()}
        settled: dict[str, float] = {}
        for operation in self._operations:
            if isinstance(operation.what, Looked) and operation.what.state in SETTLED:
                settled.setdefault(operation.what.upgrade, operation.ended)
        steps: dict[str, list[tuple[Operation, Step[int]]]] = defaultdict(list)
        for operation in self._operations:
            step = gallery_register.step_of(operation, self._when(operation), made, settled)
            if step is not None and not isinstance(operation.what, Other):
                steps[operation.what.gallery].append((operation, step))
        for gallery, listed in steps.items():
            for one in impossible(gallery_register.FIRST, [step for _, step in listed]):
                states = ", ".join(map(str, one.states))
                yield Violation("wrong generation", listed[one.step][0], f"{gallery} points at {states}")


_UNREADABLE = Stored(-1)


def _told(item: str, said: _Said, states: Sequence[State]) -> Violation:
    """Names what an operation that cannot be explained shows."""
    detail = f"{item} is {' or '.join(map(str, states)) if len(states) < 5 else f'in one of {len(states)} states'}"
    if said.seen == "written":
        return Violation("wrong count", said.operation, detail)
    if said.seen == "present" and all(state is None for state in states):
        return Violation("resurrected delete", said.operation, detail)
    return Violation("stale read" if said.through_index else "lost write", said.operation, detail)
