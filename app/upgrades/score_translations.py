"""What a score of the old model's search is worth once an upgrade has changed the model, and the other way round."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.score_translations import has_score_translations, open_score_translations
from app.artifacts.shared import SharedArtifacts
from app.problems import WrongState
from app.registry.service import Models
from app.settings import Settings
from app.upgrades.request import COMPATIBLE, FUSED
from app.upgrades.schemas import Upgrade
from app.upgrades.service import Upgrades
from app.upgrades.states import RUNNING
from models.portable import ScoreRoute


class ScoreInterval(BaseModel):
    """Scores between which most items lie."""

    low: float
    high: float


class TranslatedScore(BaseModel):
    """A score of the old model's search, and what it is worth in the new one."""

    model_config = ConfigDict(populate_by_name=True)

    upgrade: str
    source: Annotated[str, Field(alias="from")]
    to: str
    route: Annotated[
        ScoreRoute,
        Field(description="Whose scores the new ones are: of transformed items, a cascade's too, or `instant`'s."),
    ]
    old: Annotated[float, Field(description="In the old space, as its searches show it.")]
    new: Annotated[float, Field(description="In the new space, likewise. Of the two, one was given.")]
    interval: Annotated[
        ScoreInterval,
        Field(description="90 % of held-out items with just the given score lie between these in the other space."),
    ]
    error: Annotated[
        float, Field(description="How far held-out items lie from their translated scores, on average over all.")
    ]
    extrapolated: Annotated[
        bool,
        Field(description="Whether the given score is outside the range that was seen; it counts as that range's end."),
    ]
    seen: Annotated[ScoreInterval, Field(description="The range that was seen of scores like the one given.")]


class ScoreAnswers:
    """Translates scores by what upgrades learned."""

    def __init__(self, settings: Settings, models: Models, upgrades: Upgrades) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = SharedArtifacts(settings)
        self._models = models
        self._upgrades = upgrades

    def translate(
        self, upgrade: str, *, old: float | None, new: float | None, route: ScoreRoute | None
    ) -> TranslatedScore:
        """The score that was given, `old` or else `new`, in the other space; route: None for the one that the upgrade
        is served by.

        Raises NotFound, and WrongState where the upgrade learned no translation, or none of the route.
        """
        found = self._upgrades.get(upgrade)
        if found.strategy == COMPATIBLE:
            raise WrongState(
                f"Upgrade {upgrade} trains a model to search old vectors as they are: no crossing is learned, and no "
                "translation of scores. Compare both models' scores of the same items.",
                state=found.state,
            )
        if found.served_as == FUSED:
            raise WrongState(
                f"Upgrade {upgrade} is served by both models' queries together, whose scores compare the items of one "
                "answer with each other: no threshold has a meaning there. The old search, with its threshold, is as "
                "it was.",
                state=found.state,
            )
        files = UpgradeArtifacts(self._artifacts, upgrade)
        self._shared.refresh()
        if not has_score_translations(files):
            raise WrongState(_why_none(found), state=found.state)
        translations = open_score_translations(files, self._models.space(found.source), self._models.space(found.to))
        untouched = found.rewrite is False and not files.cascade.exists()
        route = route or ("instant" if untouched else "transformed")
        if route not in translations.by_route:
            raise WrongState(
                f"Upgrade {upgrade} cannot be served by route `{route}`: its scores were not looked at. There are "
                f"those of {', '.join(f'`{one}`' for one in translations.by_route)}.",
                state=found.state,
            )
        translation = translations.by_route[route]
        curve, given = (translation.to_new, old) if old is not None else (translation.to_old, new)
        assert given is not None, "one of the two is given"
        translated = curve(given)
        other, seen = float(translated.value[0]), curve.seen
        return TranslatedScore(
            upgrade=upgrade,
            source=found.source,
            to=found.to,
            route=route,
            old=given if old is not None else other,
            new=other if old is not None else given,
            interval=ScoreInterval(low=float(translated.low[0]), high=float(translated.high[0])),
            error=curve.error,
            extrapolated=bool(translated.extrapolated[0]),
            seen=ScoreInterval(low=seen[0], high=seen[1]),
        )


def _why_none(upgrade: Upgrade) -> str:
    if upgrade.report is None and upgrade.state in RUNNING:
        return (
            f"Upgrade {upgrade.id} is still {upgrade.state}: what scores are worth is learned with the crossing. "
            f"GET /upgrades/{upgrade.id}/events follows it."
        )
    if upgrade.report is None:
        return f"Upgrade {upgrade.id} is {upgrade.state}: it ended before anything was learned."
    if "scores" in upgrade.report["learned"]:
        return (
            f"Upgrade {upgrade.id} had too little to tell what scores are worth: at least ten items, and ten pairs to "
            "ask with, or, where a model embeds queries apart from items, ten queries with vectors of both models (PUT "
            f"/datasets/{upgrade.dataset}/queries). Some hundreds do well."
        )
    return (
        f"Upgrade {upgrade.id} was learned by a release that did not look at scores. POST "
        f"/models/{upgrade.source}/upgrade with the same dataset and `dry_run` learns it anew."
    )
