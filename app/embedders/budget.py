"""What may be spent on embedding, and what was: items, tokens and money."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.embedders.protocol import EmbedderPrices

_TOKENS_BESIDE = 16
"""What a tokeniser may put around a text. Within it, none in use makes more tokens than there are bytes of UTF-8 in
what it reads: the text, in lower case or not, or one of its normal forms, of which NFD or NFKD is the longest."""

_ROUNDING = 1e-9


class EmbeddingBudget(BaseModel):
    """What may be spent at most; what is left out is not limited."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: Annotated[int | None, Field(ge=1, description="Texts.")] = None
    tokens: Annotated[int | None, Field(ge=1, description="Tokens, as the embedder counts them.")] = None
    money: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="By the connection's prices, in their currency.")
    ] = None

    @model_validator(mode="after")
    def _something(self) -> EmbeddingBudget:
        if self.items is None and self.tokens is None and self.money is None:
            raise ValueError("a budget limits items, tokens or money: give at least one")
        return self


@dataclass(frozen=True)
class Spent:
    """What was spent; of answers that have not come yet, or got lost, the most that they may have cost."""

    items: int = 0
    tokens: int = 0
    money: float = 0.0

    def plus(self, items: int, tokens: int, prices: EmbedderPrices) -> Spent:
        return Spent(self.items + items, self.tokens + tokens, self.money + prices.of(items, tokens))


def most_tokens(text: str) -> int:
    """As many tokens as a text can be at most, whatever cuts it into them."""
    read = [text]
    if not text.isascii():
        read += [unicodedata.normalize(form, case) for form in ("NFD", "NFKD") for case in (text, text.lower())]
    return max(len(form.encode(errors="surrogatepass")) for form in read) + _TOKENS_BESIDE


def affordable(texts: Sequence[str], spent: Spent, budget: EmbeddingBudget | None, prices: EmbedderPrices) -> int:
    """How many of the texts, from the first on, are within the budget whatever they cost at most."""
    if budget is None:
        return len(texts)
    for many, text in enumerate(texts):
        spent = spent.plus(1, most_tokens(text), prices)
        if (
            (budget.items is not None and spent.items > budget.items)
            or (budget.tokens is not None and spent.tokens > budget.tokens)
            or (budget.money is not None and spent.money > budget.money * (1 + _ROUNDING))
        ):
            return many
    return len(texts)
