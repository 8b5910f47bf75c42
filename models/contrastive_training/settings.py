"""The settings of contrastive training, with defaults for images and for texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.portable.architectures import Modality
from models.training.settings import LoopSettings, ScheduleName

ContrastiveMethod = Literal["simclr", "simcse"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(LoopSettings):
    """How an encoder learns to tell rows apart, by AdamW under a cosine schedule with warm-up.

    temperature: of the loss. head: width of the projection that the loss compares, used in training only; None compares
    the vectors themselves. held_out: the share of rows kept for validation, on whose loss early stopping looks. For
    images: least_area, the smallest share of an image that a view shows; mirrored: whether half the views are mirrored;
    colour_strength, s of SimCLR's appendix A; coloured, greyed: the shares of views with changed colours and without
    colour. For texts: dropped_tokens, the share of tokens that a view lacks, beside the network's dropout (token
    cutoff; Yan et al., ACL 2021, §3.2).

    The defaults are for images. `for_modality` returns those of either modality: SimCLR (Chen et al., ICML 2020,
    appendix B.9, for small images) and unsupervised SimCSE (Gao et al., EMNLP 2021, §3), trained from scratch.
    """

    epochs: int = 40
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: ScheduleName = "cosine"
    warm_up_epochs: float = 1.0
    temperature: float = 0.5
    head: int | None = 128
    held_out: float = 0.05
    least_area: float = 0.2
    mirrored: bool = True
    colour_strength: float = 0.5
    coloured: float = 0.8
    greyed: float = 0.2
    dropped_tokens: float = 0.0

    @classmethod
    def for_modality(cls, modality: Modality, **given: Any) -> ContrastiveSettings:
        """The modality's defaults, overridden by what is `given`. Raises TypeError for an unknown setting."""
        texts: dict[str, Any] = {"epochs": 10, "learning_rate": 3e-4, "temperature": 0.05, "head": None}
        return cls(**((texts if modality == "text" else {}) | given))


def method_of(modality: Modality) -> ContrastiveMethod:
    """The contrastive method of a modality: SimCLR for images, SimCSE for texts."""
    return "simcse" if modality == "text" else "simclr"
