"""Linearizability: whether an object's recorded operations can have happened one at a time, each at a moment between
its call and its answer. Decided by just-in-time linearization (Lowe, Testing for linearizability, 2017)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Step(Generic[State]):
    """One operation on the object.

    after: the states in which it may leave a state; none where its answer cannot have been given in that state.
    reads: whether it leaves every state as it is. certain: whether it is known to have happened; one that is not may
    have happened between `began` and `ended`, or never.
    forced: what it did whatever its answer says, for going on after an answer that was impossible.
    """

    began: float
    ended: float
    after: Callable[[State], Sequence[State]]
    forced: Callable[[State], State]
    reads: bool = False
    certain: bool = True


@dataclass(frozen=True)
class _Configuration(Generic[State]):
    """The state after some of the operations, and which of those that are open have happened."""

    state: State
    happened: frozenset[int]


@dataclass(frozen=True)
class Impossible(Generic[State]):
    """An operation that no order explains: its place among those given, and the states possible at its end."""

    step: int
    states: tuple[State, ...]


def impossible(initial: State, steps: Sequence[Step[State]]) -> list[Impossible[State]]:
    """The operations that no order explains, given those before; empty where the whole is linearizable."""
    return _Search(steps).run(initial)


class _Search(Generic[State]):
    def __init__(self, steps: Sequence[Step[State]]) -> None:
        self._steps = steps
        self._open_reads: set[int] = set()
        self._open_writes: set[int] = set()

    def run(self, initial: State) -> list[Impossible[State]]:
        begins = [(step.began, 0, number) for number, step in enumerate(self._steps)]
        ends = [(step.ended, 1, number) for number, step in enumerate(self._steps)]
        now = {_Configuration(initial, frozenset[int]())}
        found: list[Impossible[State]] = []
        for _, ending, number in sorted(begins + ends):
            if not ending:
                now = self._begin(number, now)
                continue
            later = self._end(number, now)
            if not later:
                states = tuple({configuration.state for configuration in now})
                found.append(Impossible(number, states))
                later = self._forced(number, now)
            (self._open_reads if self._steps[number].reads else self._open_writes).discard(number)
            now = {_Configuration(one.state, one.happened - {number}) for one in later}
        return found

    def _begin(self, number: int, configurations: set[_Configuration[State]]) -> set[_Configuration[State]]:
        if not self._steps[number].reads:
            self._open_writes.add(number)
            return configurations
        self._open_reads.add(number)
        return {self._with_reads(one.state, one.happened) for one in configurations}

    def _end(self, number: int, before: set[_Configuration[State]]) -> set[_Configuration[State]]:
        """What is possible once the operation has ended, by letting as few as are needed happen before that."""
        step, seen, pending = self._steps[number], set(before), list(before)
        possible: set[_Configuration[State]] = set()
        while pending:
            one = pending.pop()
            if number in one.happened:
                possible.add(one)
                continue
            if not step.certain:
                possible.add(one)
            for later in self._after_one_more(one):
                if later not in seen:
                    seen.add(later)
                    pending.append(later)
        return possible

    def _after_one_more(self, one: _Configuration[State]) -> list[_Configuration[State]]:
        return [
            self._with_reads(state, one.happened | {write})
            for write in self._open_writes - one.happened
            for state in self._steps[write].after(one.state)
        ]

    def _with_reads(self, state: State, happened: frozenset[int]) -> _Configuration[State]:
        """Every open read that fits this state may happen now: that never rules anything out."""
        fitting = {read for read in self._open_reads - happened if self._steps[read].after(state)}
        return _Configuration(state, happened | fitting)

    def _forced(self, number: int, configurations: set[_Configuration[State]]) -> set[_Configuration[State]]:
        step = self._steps[number]
        return {self._with_reads(step.forced(one.state), one.happened) for one in configurations}
