"""Wire shapes of the upgrades resource."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WrapValidator

from app.jobs.schemas import Progress
from app.upgrades.compatible_request import CompatibleUpgrade, InstanceWeights, TrainingOptions
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.request import Gate
from app.upgrades.states import UpgradeState
from app.validation import wrong

EXAMPLES: dict[str, Example] = {
    "forward": {
        "summary": "Cross to a model that there is already",
        "value": {"to": "minilm-v2", "method": "auto", "dataset": "pairs", "galleries": ["faq"]},
    },
    "compatible": {
        "summary": "Train a new model that searches the gallery as it is",
        "value": {
            "to": {"id": "encoder-v3", "architecture": "small-bert"},
            "strategy": "compatible",
            "method": "random_walk",
            "dataset": "pairs",
            "galleries": ["faq"],
            "training": {"epochs": 2, "batch": 64},
        },
    },
}

_SHAPES: dict[str, type[ForwardUpgrade | CompatibleUpgrade]] = {
    "forward": ForwardUpgrade,
    "compatible": CompatibleUpgrade,
}


def _by_strategy(body: Any, _validate: Any) -> ForwardUpgrade | CompatibleUpgrade:
    """Validated as its own strategy alone, so that the places that errors name are those of the body."""
    if isinstance(body, ForwardUpgrade | CompatibleUpgrade):
        return body
    strategy = body.get("strategy", "forward") if isinstance(body, dict) else "forward"
    if not isinstance(strategy, str) or strategy not in _SHAPES:
        raise wrong(f"a strategy is one of {', '.join(_SHAPES)}", "strategy")
    for message, field in _misplaced(strategy, body if isinstance(body, dict) else {}):
        raise wrong(message, field)
    return _SHAPES[strategy].model_validate(body)


def _misplaced(strategy: str, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What belongs to the other strategy, and where."""
    other = "compatible" if strategy == "forward" else "forward"
    shape, its = _SHAPES[strategy].model_fields, _SHAPES[other].model_fields
    for field in sorted((its.keys() - shape.keys()) & body.keys()):
        yield f"`{field}` is of strategy `{other}`, and this is `{strategy}`", field
    if isinstance(method := body.get("method"), str):
        mine, theirs = (set(get_args(fields["method"].annotation)) for fields in (shape, its))
        if method in theirs - mine:
            yield f"{method!r} is a method of strategy `{other}`, and this is `{strategy}`", "method"
    if strategy == "forward" and isinstance(body.get("to"), dict):
        yield "an object describes a model to be trained, which is strategy `compatible`; here it is a model's id", "to"
    if strategy == "compatible" and isinstance(body.get("to"), str):
        yield 'strategy `compatible` trains a new model: give {"id", "architecture"}, not the id of one', "to"


NewUpgrade = Annotated[ForwardUpgrade | CompatibleUpgrade, WrapValidator(_by_strategy)]
"""What starts an upgrade from the model in the path."""

_NEW_UPGRADE: TypeAdapter[ForwardUpgrade | CompatibleUpgrade] = TypeAdapter(NewUpgrade)


def asked_by(request: dict[str, Any]) -> ForwardUpgrade | CompatibleUpgrade:
    """A stored request as it was asked."""
    return _NEW_UPGRADE.validate_python(request)


class Upgrade(BaseModel):
    """An upgrade as it is now."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    source: Annotated[str, Field(alias="from")]
    to: str
    strategy: str
    method: str
    architecture: Annotated[dict[str, Any] | None, Field(description="Of the model that it trains, if it does.")]
    training: Annotated[TrainingOptions | None, Field(description="How it trains, if it does.")]
    instance_weights: InstanceWeights | None
    dataset: str
    evaluation: str | None
    galleries: list[str]
    gate: Gate
    activate: str
    dry_run: bool
    rewrite: Annotated[bool | None, Field(description="Whether it transforms galleries; null where it never does.")]
    fused: Annotated[bool | None, Field(description="Whether it may be accepted as `fused`; null where it never is.")]
    state: UpgradeState
    served_as: Annotated[
        Literal["fused"] | None,
        Field(
            description="`fused` where the crossing alone misses the gate, and fused with the old model's queries "
            "meets it: galleries stay as they are, and searches need `old_vector`. Null where the crossing alone is "
            "enough, and where nothing was accepted."
        ),
    ]
    reason: Annotated[str | None, Field(description="Why it was rejected or failed, and what to do about it.")]
    progress: Progress | None
    report: Annotated[
        dict[str, Any] | None,
        Field(
            description="What was learned, and of each gallery what was proved: first `recommendation`, with the "
            "`sentence` that says what to do, and where that cannot be told yet, what would decide."
        ),
    ]
    statements: Annotated[
        dict[str, str],
        Field(
            description="By gallery in a store of your own: what your application has to do there, in the store's own "
            "language, to read what the gallery now points at; none where the store was switched in one step."
        ),
    ]
    created_at: datetime
    updated_at: datetime


RowOrder = Literal["suspect_label", "old_model_poor", "outlier"]


class TrainingRow(BaseModel):
    """A row that a model was trained on, and what training says of it; null where it says nothing."""

    id: str
    label: str
    outlier: Annotated[
        float | None, Field(description="Weight in its class's column; 1 is the average, near 0 an outlier.")
    ]
    suspect_label: Annotated[float | None, Field(description="Higher: its label is more likely to be wrong.")]
    old_model_poor: Annotated[
        float | None, Field(description="Higher: the old model does worse on it; re-embed it first.")
    ]
