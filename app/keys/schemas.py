"""Wire shapes of the keys."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi.openapi.models import Example
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from app.ids import Line, ResourceId
from app.keys.access import KeyScope
from app.rates import Rate

EXAMPLES: dict[str, Example] = {
    "bound": {
        "summary": "A key that may do nothing but search one gallery",
        "value": {"name": "web shop", "scopes": ["search"], "galleries": ["faq"], "rate": "100/second"},
    },
    "operator": {"summary": "A key that may do everything", "value": {"name": "operator", "scopes": ["admin"]}},
}

Concurrency = Annotated[int, Field(ge=1, le=100_000)]


class NewKey(BaseModel):
    """What a new key may do."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Line, Field(min_length=1, max_length=200, description="Whose key it is, for people.")]
    scopes: Annotated[
        list[KeyScope],
        Field(
            min_length=1,
            description="`search` searches; `write` registers, fills and removes; `upgrade` upgrades and evaluates; "
            "`admin` does everything, and makes keys. Each of them may look up models, galleries and items.",
        ),
    ]
    galleries: Annotated[
        list[ResourceId] | None,
        Field(min_length=1, description="The only galleries that it sees, existing or to come; left out: all."),
    ] = None
    datasets: Annotated[
        list[ResourceId] | None, Field(description="With `galleries`: the only datasets that it sees; left out: none.")
    ] = None
    expires_at: Annotated[AwareDatetime | None, Field(description="When it ends; left out: when it is revoked.")] = None
    rate: Annotated[
        Rate | None, Field(description="Most requests: `100/second`. Left out: the service's setting `key_rate`.")
    ] = None
    concurrency: Annotated[
        Concurrency | None,
        Field(description="Most requests at one time in one gateway. Left out: the setting `key_concurrency`."),
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> "NewKey":
        if KeyScope.ADMIN in self.scopes and self.galleries is not None:
            raise ValueError("a key with scope `admin` may do everything: it cannot be bound to galleries")
        if self.datasets is not None and self.galleries is None:
            raise ValueError("`datasets` binds a key that is bound to `galleries`: give both, or neither")
        return self


class Rotation(BaseModel):
    """When the key that is replaced ends."""

    model_config = ConfigDict(extra="forbid")

    until: Annotated[AwareDatetime | None, Field(description="Both are taken until then; left out: no more.")] = None


class Key(NewKey):
    """A key as it is now. Its secret is not kept."""

    id: Annotated[str, Field(description="The part of the key between `cwk_` and the secret.")]
    state: Annotated[Literal["active", "expired", "revoked"], Field(description="Only an `active` one is taken.")]
    created_at: datetime
    revoked_at: Annotated[
        datetime | None,
        Field(
            description="When it was revoked; to come where it was rotated, and is taken until then beside the new one."
        ),
    ]
    last_used_at: Annotated[datetime | None, Field(description="To about a minute.")]


class CreatedKey(Key):
    """A key just made."""

    key: Annotated[str, Field(description="What to send as `Authorization: Bearer <key>`. It is never shown again.")]
