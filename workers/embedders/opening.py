"""Opens a model's embedder in a worker, and embeds with it from code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.artifacts.folder import TrainedModelFiles
from app.embedders.budget import EmbeddingBudget
from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.kept_vectors import forget_old_vectors
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import LocalOptions, TrainedHereOptions
from app.embedders.protocol import TextEmbedder
from app.embedders.run import EmbeddedTexts, EmbeddingRun
from app.settings import Settings
from app.storage.database import Database


@dataclass(frozen=True)
class _Opened:
    """An embedder, and what says which of its inputs it cannot read."""

    embedder: TextEmbedder
    unreadable: Callable[[Sequence[str]], set[str]] = lambda _: set()


class OpenedEmbedder:
    """An embedder that is open: its model is loaded, or its connections are kept, from one call to the next."""

    def __init__(self, runner: asyncio.Runner, opened: _Opened, run: EmbeddingRun) -> None:
        self._runner = runner
        self._opened = opened
        self._run = run

    def readable(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Those of the texts or images, each under a name of the caller's, that can be embedded: an image that cannot
        be decoded is left out."""
        unreadable = self._opened.unreadable(list(inputs.values()))
        return {name: one for name, one in inputs.items() if one not in unreadable}

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> EmbeddedTexts:
        """The vectors of texts, or of images as base64, the first ones first, as many as the budget allows.

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
    """Embeds texts or images of one side for as long as the context is open, within the budget of the subject. Raises
    EmbedderWrong where the embedder cannot be opened."""
    forget_old_vectors(database, settings.kept_vectors_days)
    with asyncio.Runner() as runner:
        opened = runner.run(_opened(settings, how))
        try:
            yield OpenedEmbedder(runner, opened, how.run(opened.embedder, side, database, subject, budget))
        finally:
            runner.run(opened.embedder.close())


async def _opened(settings: Settings, how: ModelEmbedder) -> _Opened:
    # What embeds here is imported here, so that nothing else loads the libraries of models.
    if isinstance(how.options, LocalOptions):
        from models.device import resolve

        if how.options.reads == "image":
            from workers.embedders.image_folder import ImageFolderEmbedder

            of_images = ImageFolderEmbedder(how.connection, how.options, resolve(settings.device))
            return _Opened(of_images, of_images.unreadable)
        from workers.embedders.local_folder import LocalEmbedder

        return _Opened(LocalEmbedder(how.connection, how.options, resolve(settings.device)))
    if isinstance(how.options, TrainedHereOptions):
        from models.device import resolve
        from workers.embedders.trained_here import TrainedHereEmbedder

        run = how.options.run
        trained = TrainedHereEmbedder(
            run, TrainedModelFiles(settings.artifacts_dir / run).model, resolve(settings.device)
        )
        return _Opened(trained, trained.unreadable)
    return _Opened(OpenAIEmbedder(how.connection, how.options))
