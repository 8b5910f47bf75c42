"""Opens a model's embedder in a worker, and embeds with it from code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from app.embedders.budget import EmbeddingBudget
from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.kept_vectors import forget_old_vectors
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import LocalOptions
from app.embedders.protocol import TextEmbedder
from app.embedders.run import EmbeddedTexts, EmbeddingRun
from app.settings import Settings
from app.storage.database import Database


class OpenedEmbedder:
    """An embedder that is open: its model is loaded, or its connections are kept, from one call to the next."""

    def __init__(self, runner: asyncio.Runner, run: EmbeddingRun) -> None:
        self._runner = runner
        self._run = run

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> EmbeddedTexts:
        """The vectors of texts, the first ones first, as many as the budget allows.

        progress: told how many are done; what it raises ends the run. Raises EmbedderAway and EmbedderWrong, with the
        answers that came before them kept.
        """
        return self._runner.run(self._run.embed(texts, progress))

    def forget(self, texts: Sequence[str]) -> None:
        """Removes the kept answers of texts whose vectors are stored elsewhere by now."""
        self._run.kept.forget(texts)


@contextmanager
def opened_embedder(
    settings: Settings,
    database: Database,
    how: ModelEmbedder,
    side: EmbeddingSide,
    *,
    subject: str,
    budget: EmbeddingBudget | None,
) -> Iterator[OpenedEmbedder]:
    """Embeds texts of one side for as long as the context is open, within the budget of the subject. Raises
    EmbedderWrong where the embedder cannot be opened."""
    forget_old_vectors(database, settings.kept_vectors_days)
    with asyncio.Runner() as runner:
        embedder = runner.run(_opened(settings, how))
        try:
            yield OpenedEmbedder(runner, how.run(embedder, side, database, subject, budget))
        finally:
            runner.run(embedder.close())


async def _opened(settings: Settings, how: ModelEmbedder) -> TextEmbedder:
    if isinstance(how.options, LocalOptions):
        # Imported here, so that only what embeds here loads the model's library.
        from models.device import resolve
        from workers.embedders.local_folder import LocalEmbedder

        return LocalEmbedder(how.connection, how.options, resolve(settings.device))
    return OpenAIEmbedder(how.connection, how.options)
