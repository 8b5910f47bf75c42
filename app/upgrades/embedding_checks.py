"""What refuses work that embeds before it starts: it needs an embedder, texts, and prices where money counts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.artifacts.folder import TrainedModelFiles
from app.artifacts.shared import SharedArtifacts
from app.embedders.budget import EmbeddingBudget
from app.embedders.choice import TrainedHere
from app.embedders.configured import ConfiguredEmbedders, ModelEmbedder
from app.galleries.item_texts import ItemTexts
from app.problems import Unprocessable
from app.registry.service import Models
from app.settings import Settings
from app.upgrades.forward_request import ForwardUpgrade


class EmbeddingChecks:
    """Whether items can be embedded with a model, going by what is registered, configured and stored."""

    def __init__(self, settings: Settings, models: Models, embedders: ConfiguredEmbedders, texts: ItemTexts) -> None:
        self._settings = settings
        self._shared = SharedArtifacts(settings)
        self._models = models
        self._embedders = embedders
        self._texts = texts

    def pairs(self, session: Session, request: ForwardUpgrade) -> None:
        """Raises Unprocessable where the pairs that an upgrade asks for, if it does, cannot be embedded; whether there
        are texts, `have_texts` says."""
        if request.pairs is not None:
            self.embeddable(session, request.to, request.budget, "/pairs")

    def have_texts(self, model: str, galleries: Sequence[str], field: str) -> None:
        """Raises NotFound; Unprocessable where no item of one of the galleries seems to have what the model's embedder
        reads, a text or an image, or where the model was to be trained here, and is not yet; EmbedderWrong where its
        connection is no longer there; and GalleryStoreAway or StoreChanged where its items lie in a store that cannot
        be read. A model without an embedder is passed over. To be called outside of any transaction, since such a store
        is asked over the network."""
        registered = self._models.get(model)
        if registered.embedder is None:
            return  # which `embeddable` refuses
        if isinstance(registered.embedder, TrainedHere):
            self._require_weights(model, registered.embedder)
        reads = self._embedders.of(registered.embedder, registered.dimension, registered.metric).reads
        for gallery in galleries:
            if not self._texts.any_in(gallery, field, reads):
                raise Unprocessable.at(
                    f"Items of gallery {gallery!r} have no {reads} {self._texts.place(gallery, field, reads)}, so "
                    "there is nothing to embed. Name the field that has it in `text`, or, where the items lie in a "
                    f"store of your own, register a gallery whose `store` names its `{reads}`.",
                    pointer="/text",
                )

    def _require_weights(self, model: str, embedder: TrainedHere) -> None:
        """Raises Unprocessable where a model was to be trained here, and its weights are not there."""
        self._shared.refresh()
        if not TrainedModelFiles(self._settings.artifacts_dir / embedder.run).model_zip.exists():
            raise Unprocessable(
                f"Model {model!r} has no weights to embed with: {embedder.run}, which was to train it, has not got "
                "that far, or ended before. Wait for it, or train the model anew."
            )

    def embeddable(self, session: Session, model: str, budget: EmbeddingBudget | None, pointer: str) -> ModelEmbedder:
        """The embedder of a model. Raises NotFound; Unprocessable where it has none, at `pointer`, or where the budget
        is of money and it has no price; and EmbedderWrong where its connection is no longer there."""
        registered = self._models.get(model, session)
        if registered.embedder is None:
            raise Unprocessable.at(
                f"Model {model!r} names no embedder, so the service cannot embed with it. Name it: PUT "
                f"/models/{model}/embedder. Or embed the items yourself and PUT them.",
                pointer=pointer,
            )
        how = self._embedders.of(registered.embedder, registered.dimension, registered.metric)
        if how.reads == "image" and budget is not None and budget.tokens is not None:
            raise Unprocessable.at(
                f"Model {model!r} embeds images, which have no tokens. Limit `items`.", pointer="/budget/tokens"
            )
        if budget is not None and budget.money is not None and not how.options.prices.known:
            if isinstance(registered.embedder, TrainedHere):
                raise Unprocessable.at(
                    f"Model {model!r} was trained here, and embeds here, for no money. Limit `items`.",
                    pointer="/budget/money",
                )
            raise Unprocessable.at(
                f"Connection {how.connection!r} says no price, so money cannot be counted. Limit `items` or `tokens`, "
                "or have price_per_item or price_per_million_tokens added to the file of connections.",
                pointer="/budget/money",
            )
        return how
