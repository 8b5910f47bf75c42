"""Which generation a gallery is pointed at, as a register."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.chaos.history import Active, Looked, Operation, Put, Search, Start, Switch, SwitchUpgrade
from tests.chaos.item_register import Moment
from tests.chaos.linearizability import Step

_NO_ROUTE = 409
FIRST = 1
"""The generation that a gallery begins with, in the old model's space; upgrades are made of it."""


def step_of(
    operation: Operation, when: Moment, made: Mapping[str, int], settled: Mapping[str, float]
) -> Step[int] | None:
    """What an operation says of its gallery's active generation; None where nothing.

    made: the generation that each upgrade made. settled: when each upgrade was first seen to be done.
    """
    what, happened = operation.what, operation.outcome != "refused"
    match what:
        case Switch(generation=number) if happened:
            return _writing(when, lambda _: number)
        case SwitchUpgrade(upgrade=upgrade, back=False) if happened and upgrade in made:
            return _writing(when, lambda _: made[upgrade])
        case SwitchUpgrade(upgrade=upgrade, back=True) if happened and upgrade in made:
            return _writing(when, lambda active: FIRST if active == made[upgrade] else active)
        case Start(upgrade=str(upgrade), at_once=True) if upgrade in made:
            until = settled.get(upgrade, float("inf"))
            return _writing(Moment(when.began, until, certain=False), lambda _: made[upgrade])
        case Active(generation=int(number)):
            return _reading(when, lambda active: active == number)
        case Search(model="new", found=None) if operation.status == _NO_ROUTE:
            return _reading(when, lambda active: active == FIRST)
        case Search(model="new", found=found) if found is not None:
            return _reading(when, lambda active: active == found.generation)
        case Put(model="new") if operation.outcome == "ok":
            return _reading(when, lambda active: active != FIRST)
        case Looked(upgrade=upgrade, state="active") if upgrade in made:
            return _reading(when, lambda active: active == made[upgrade])
    return None


def _writing(when: Moment, becomes: Callable[[int], int]) -> Step[int]:
    return Step(when.began, when.ended, lambda active: [becomes(active)], becomes, certain=when.certain)


def _reading(when: Moment, fits: Callable[[int], bool]) -> Step[int]:
    return Step(
        when.began, when.ended, lambda active: [active] if fits(active) else [], lambda active: active, reads=True
    )
