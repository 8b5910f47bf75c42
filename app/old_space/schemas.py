"""Wire shapes of `POST /v1/embeddings`, which are OpenAI's."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.embedders.choice import EmbeddingSide

MOST_TEXTS = 2_048
"""As OpenAI's own service takes in one call."""

_NAME = re.compile(r"(upg-[0-9a-f]{32})-(query|document)")


def _named(model: str) -> str:
    if _NAME.fullmatch(model) is None:
        raise PydanticCustomError("model", "is the id of an upgrade, and -query or -document: upg-…-query")
    return model


Texts = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MOST_TEXTS)]


class EmbeddingsRequest(BaseModel):
    """What to embed. Fields of OpenAI's that change nothing here, such as `user`, are passed over."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {"model": "upg-0193a1b2c3d4e5f60718293a4b5c6d7e-query", "input": ["Where is my parcel?"]},
            ]
        },
    )

    model: Annotated[
        str,
        AfterValidator(_named),
        Field(description="`<upgrade>-query` for what is searched with, `<upgrade>-document` for what is stored."),
    ]
    input: Annotated[Annotated[str, Field(min_length=1)] | Texts, Field(description="A text, or several; not tokens.")]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[
        int | None, Field(ge=1, description="The old model's dimension: the old index takes no other.")
    ] = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def upgrade(self) -> str:
        return self.model.rpartition("-")[0]

    @property
    def side(self) -> EmbeddingSide:
        return "query" if self.model.endswith("-query") else "document"


class EmbeddingsEntry(BaseModel):
    """One vector in the old space."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """What the embedders say that they read, or 0 where they do not say."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """One vector for each text, in their order."""

    object: Literal["list"]
    data: list[EmbeddingsEntry]
    model: str
    usage: EmbeddingsUsage
