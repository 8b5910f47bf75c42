"""The card of a crossing that is taken away: between which models it leads, which way, and what was proved of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from .card import Card, Space, is_name
from .errors import CorruptArtifact, WrongDirection
from .strict_json import shown, strict_json

_KIND, _FORMAT = "crosswalk crossing", 1
_SERVED_AS = ("crossing", "fused")
_PARTS = ("chosen", "plain", "uncertainty", "scores")


@dataclasses.dataclass(frozen=True)
class CrossingCard:
    """What a crossing is, from vectors of the model `source` to vectors of the model `target`.

    upgrade: the id of the upgrade that learned it. chosen, plain: the cards of its two transformations, as of Crossing;
    uncertainty: of what predicts its error, and scores: of what translates scores, None for nothing. pushing: how exact
    pushing a query is, in words; None where no query can be pushed. served_as: what the gate accepted, "crossing" for
    the crossing by itself, "fused" for no less than it together with queries of the old model. proof: what was proved
    of each gallery, by its name, as in the upgrade's report.
    """

    upgrade: str
    chosen: Card
    plain: Card
    uncertainty: Card | None
    scores: Card | None
    pushing: str | None
    served_as: str
    proof: Mapping[str, Any]

    @property
    def source(self) -> Space:
        """The space of the old vectors, which `apply` reads, and whose index answers pushed queries."""
        return self.chosen.source

    @property
    def target(self) -> Space:
        """The space of the transformed vectors, and of the queries that `push` reads."""
        return self.chosen.target

    @property
    def side_dimension(self) -> int | None:
        """The dimension of the side-information that it reads; None for none."""
        return self.chosen.side_dimension

    def require_source(self, model: str) -> None:
        """Raises WrongDirection unless vectors of this model can be applied."""
        if model == self.source.model:
            return
        hint = (
            " It leads to that model: its queries can be pushed, and no vector is taken back."
            if model == self.target.model
            else ""
        )
        raise WrongDirection(f"The crossing applies to vectors of model {self.source.model!r}, not {model!r}.{hint}")

    def require_target(self, model: str) -> None:
        """Raises WrongDirection unless queries of this model can be pushed."""
        if model == self.target.model:
            return
        hint = (
            " Queries of that model search an index of its vectors as they are." if model == self.source.model else ""
        )
        raise WrongDirection(f"The crossing pushes queries of model {self.target.model!r}, not {model!r}.{hint}")

    def to_json(self) -> str:
        """The card as JSON text: first what a person asks of it, then the parts."""
        old, new = self.source, self.target
        pushed = "" if self.pushing is None else f" Queries of {new.model} are pushed: an index of {old.model} answers."
        said = {
            "kind": _KIND,
            "format": _FORMAT,
            "upgrade": self.upgrade,
            "from": dataclasses.asdict(old),
            "to": dataclasses.asdict(new),
            "direction": f"Vectors of {old.model} become vectors of {new.model}; there is no way back.{pushed}",
            "method": self.chosen.method,
            "side_dimension": self.side_dimension,
            "pairs": self.chosen.pairs,
            "learned_at": self.chosen.created_at,
            "pushing": self.pushing,
            "served_as": self.served_as,
            "proof": dict(self.proof),
            "parts": {
                "chosen": dataclasses.asdict(self.chosen),
                "plain": dataclasses.asdict(self.plain),
                "uncertainty": None if self.uncertainty is None else dataclasses.asdict(self.uncertainty),
                "scores": None if self.scores is None else dataclasses.asdict(self.scores),
            },
        }
        return json.dumps(said, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CrossingCard:
        """Reads a saved card; raises CorruptArtifact where anything is missing, or contradicts itself."""
        try:
            said = strict_json(text)
            if not isinstance(said, dict):
                raise CorruptArtifact("its card is no JSON object")
            _check_kind(said)
            if unknown := set(said["parts"]) - set(_PARTS):
                raise CorruptArtifact(f"its card names a part {shown(min(unknown))}, which this release does not know")
            parts = {
                name: None if said["parts"][name] is None else Card.of_fields(said["parts"][name]) for name in _PARTS
            }
            chosen, plain = parts["chosen"], parts["plain"]
            if chosen is None or plain is None:
                raise CorruptArtifact("its card describes no transformation")
            told = (said["upgrade"], said["pushing"], said["served_as"], said["proof"])
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptArtifact(f"its card is unreadable: {error}") from error
        upgrade, pushing, served_as, proof = told
        card = cls(upgrade, chosen, plain, parts["uncertainty"], parts["scores"], pushing, served_as, proof)
        _check_told(card)
        spaces = dataclasses.asdict(card.source), dataclasses.asdict(card.target)
        ways = {(part.source, part.target) for part in parts.values() if part is not None}
        if (said.get("from"), said.get("to")) != spaces or len(ways) > 1:
            raise CorruptArtifact("its card names other models than those that its parts lead between")
        return card


def _check_kind(said: Mapping[str, Any]) -> None:
    """Raises CorruptArtifact unless it is a card that this release reads, and KeyError where it does not say."""
    kind, format = said["kind"], said["format"]
    if kind != _KIND:
        raise CorruptArtifact(f"it is a {shown(kind)}, and no {_KIND!r}")
    if type(format) is not int or format != _FORMAT:
        raise CorruptArtifact(f"it is of format {shown(format)}, and this release reads format {_FORMAT}")


def _check_told(card: CrossingCard) -> None:
    """Raises CorruptArtifact where what a card tells besides its parts is of another type than it is written in."""
    right = {
        "upgrade": is_name(card.upgrade),
        "pushing": card.pushing is None or isinstance(card.pushing, str),
        "served_as": isinstance(card.served_as, str) and card.served_as in _SERVED_AS,
        "proof": isinstance(card.proof, dict),
    }
    for name, is_right in right.items():
        if not is_right:
            raise CorruptArtifact(f"its card is unreadable: its {name} is {shown(getattr(card, name))}")
