"""Opens a model's embedder in a worker, and embeds with it from code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.embedders.budget import EmbeddingBudget
from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import LocalOptions
from app.embedders.protocol import TextEmbedder
from app.embedders.run import EmbeddedTexts
from app.settings import Settings
from app.storage.database import Database


def embed_texts(
    settings: Settings,
    database: Database,
    how: ModelEmbedder,
    side: EmbeddingSide,
    texts: Sequence[str],
    *,
    subject: str,
    budget: EmbeddingBudget | None,
    progress: Callable[[int], None] = lambda _: None,
) -> EmbeddedTexts:
    """The vectors of texts of one side, the first ones first, as many as the budget of the subject allows.

    progress: told how many are done; what it raises ends the run. Raises EmbedderAway and EmbedderWrong, with the
    answers that came before them kept.
    """

    async def embedded() -> EmbeddedTexts:
        embedder = _opened(settings, how)
        try:
            return await how.run(embedder, side, database, subject, budget).embed(texts, progress)
        finally:
            await embedder.close()

    return asyncio.run(embedded())


def _opened(settings: Settings, how: ModelEmbedder) -> TextEmbedder:
    if isinstance(how.options, LocalOptions):
        # Imported here, so that only what embeds here loads the model's library.
        from models.device import resolve
        from workers.embedders.local_folder import LocalEmbedder

        return LocalEmbedder(how.connection, how.options, resolve(settings.device))
    return OpenAIEmbedder(how.connection, how.options)
