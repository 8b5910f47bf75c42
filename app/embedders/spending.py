"""What a piece of work spends on embedding, written down before it is spent: a crash forgets nothing that was paid.

The most that a request may cost is set aside before it is sent; what it did cost is known with its answer. What comes
of no answer, since the connection broke or nothing came in time, may have been paid for: it stays spent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.embedders.budget import EmbeddingBudget, Spent, affordable, most_tokens
from app.embedders.protocol import EmbedderPrices
from app.embedders.tables import EmbeddingSpendingRow
from app.storage.database import Database


@dataclass(frozen=True)
class SetAside:
    """What may be spent on one request: so many texts, and at most so many tokens."""

    items: int
    tokens: int


class Account:
    """What one subject has spent, held by the transaction of `session` until that ends: nobody else changes it."""

    def __init__(
        self, session: Session, row: EmbeddingSpendingRow, prices: EmbedderPrices, budget: EmbeddingBudget | None
    ) -> None:
        self.session = session
        self._row = row
        self._prices = prices
        self._budget = budget

    def set_aside(self, texts: Sequence[str]) -> SetAside:
        """Sets aside what the first of these texts cost at most, as many of them as are within the budget."""
        many = affordable(texts, _spent(self._row), self._budget, self._prices)
        aside = SetAside(many, sum(map(most_tokens, texts[:many])))
        self._add(aside.items, aside.tokens)
        return aside

    def settle(self, aside: SetAside, tokens: int | None) -> None:
        """Replaces what was set aside by what was paid. tokens: None where the embedder did not say how many."""
        if tokens is not None:
            self._add(0, tokens - aside.tokens)

    def give_back(self, aside: SetAside) -> None:
        """Takes back what was set aside for a request that was refused, which costs nothing."""
        self._add(-aside.items, -aside.tokens)

    def _add(self, items: int, tokens: int) -> None:
        now = _spent(self._row).plus(items, tokens, self._prices)
        self._row.items, self._row.tokens, self._row.money = now.items, now.tokens, now.money


class Spending:
    """The spending of one subject, shared by whoever works on it, in whichever process."""

    def __init__(
        self, database: Database, subject: str, prices: EmbedderPrices, budget: EmbeddingBudget | None = None
    ) -> None:
        self._database = database
        self._subject = subject
        self._prices = prices
        self._budget = budget

    @contextmanager
    def account(self) -> Iterator[Account]:
        """The account in a transaction of its own, which is committed when the context ends well."""
        with self._database.session() as session:
            row = session.get(EmbeddingSpendingRow, self._subject, with_for_update=True) or self._begun(session)
            yield Account(session, row, self._prices, self._budget)

    def _begun(self, session: Session) -> EmbeddingSpendingRow:
        """The row of a subject that has spent nothing yet, whoever else begins it at the same moment."""
        kind = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
        nothing = {"subject": self._subject, "items": 0, "tokens": 0, "money": 0.0}
        session.execute(kind.insert(EmbeddingSpendingRow).values(nothing).on_conflict_do_nothing())
        return session.get_one(EmbeddingSpendingRow, self._subject, with_for_update=True)


def spent_by(session: Session, subject: str) -> Spent | None:
    """What a subject has spent; None where it never embedded anything."""
    row = session.get(EmbeddingSpendingRow, subject)
    return None if row is None else _spent(row)


def forget_spending(session: Session, subject: str) -> None:
    """Removes what is known of a subject that is no more."""
    if (row := session.get(EmbeddingSpendingRow, subject)) is not None:
        session.delete(row)


def _spent(row: EmbeddingSpendingRow) -> Spent:
    return Spent(row.items, row.tokens, row.money)
