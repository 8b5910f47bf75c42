"""One item of a gallery as a register: which writes its parts are of, and what each operation says of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.chaos.history import Row
from tests.chaos.linearizability import Step
from tests.chaos.vectors import Model

LABELS = 3


class Stored(NamedTuple):
    """The number of the write that each part of an item comes from; None where the item lacks it."""

    payload: int | None = None
    label: int | None = None
    old: int | None = None
    new: int | None = None

    def projected(self, generation: int) -> tuple[Model, int] | None:
        """The vector that a generation's own comes from: the first holds old ones, every later one was made of it."""
        if generation > 1 and self.new is not None:
            return "new", self.new
        return None if self.old is None else ("old", self.old)


State = Stored | None
"""None: there is no such item."""


def label_of(number: int) -> str:
    """The label that write `number` gives an item, if it gives one; several writes share one."""
    return f"label-{number % LABELS}"


@dataclass(frozen=True)
class Moment:
    """When an operation was under way, and whether it is known to have happened."""

    began: float
    ended: float
    certain: bool = True


def put(when: Moment, model: Model, row: Row, inserted: bool | None = None) -> Step[State]:
    """A write of one item; inserted: whether it was new, where that was answered."""

    def written(state: State) -> list[State]:
        before = state or Stored()
        changed = before._replace(
            payload=row.number if row.payload else before.payload, label=row.number if row.label else before.label
        )
        if model == "new":
            return [changed._replace(new=row.number)]
        dropped = changed._replace(old=row.number, new=None)
        if before.old is None and before.new is not None:
            # A first old vector replaces none, so what the new model made may be of the very same item.
            return [dropped, changed._replace(old=row.number)]
        return [dropped]

    def after(state: State) -> list[State]:
        return written(state) if inserted is None or inserted == (state is None) else []

    return Step(when.began, when.ended, after, lambda state: written(state)[0], certain=when.certain)


def delete(when: Moment, deleted: bool | None = None) -> Step[State]:
    """deleted: whether there was something to delete, where that was answered."""

    def after(state: State) -> list[State]:
        return [None] if deleted is None or deleted == (state is not None) else []

    return Step(when.began, when.ended, after, lambda state: None, certain=when.certain)


def reading(when: Moment, fits: Callable[[State], bool]) -> Step[State]:
    return Step(when.began, when.ended, lambda state: [state] if fits(state) else [], lambda state: state, reads=True)


def read_whole(when: Moment, seen: State) -> Step[State]:
    """labels of `seen` are those of some write: which of them that share it does not matter."""
    return reading(when, lambda state: _alike(state, seen))


def found_by_vector(when: Moment, generation: int, origins: Collection[tuple[Model, int]]) -> Step[State]:
    """A search scored the item as one of these writes' vectors would be scored."""
    return reading(when, lambda state: state is not None and state.projected(generation) in origins)


def found_with(when: Moment, payload: int | None, label: str | None) -> Step[State]:
    """A search showed the item with this payload and label."""
    return reading(when, lambda state: _shown(state, payload, label))


def found_whole(
    when: Moment, generation: int, origins: Collection[tuple[Model, int]], payload: int | None, label: str | None
) -> Step[State]:
    """Both at the same moment."""
    return reading(
        when,
        lambda state: state is not None and state.projected(generation) in origins and _shown(state, payload, label),
    )


def not_found(when: Moment, generation: int, labels: Sequence[str] | None) -> Step[State]:
    """A search that would have found the item did not; labels: those that it was limited to."""

    def fits(state: State) -> bool:
        if state is None or state.projected(generation) is None:
            return True
        return labels is not None and (state.label is None or label_of(state.label) not in labels)

    return reading(when, fits)


def _shown(state: State, payload: int | None, label: str | None) -> bool:
    own = None if state is None or state.label is None else label_of(state.label)
    return state is not None and state.payload == payload and own == label


def _alike(state: State, seen: State) -> bool:
    if state is None or seen is None:
        return state is seen
    same_label = _shown(state, seen.payload, None if seen.label is None else label_of(seen.label))
    return same_label and (state.old, state.new) == (seen.old, seen.new)
