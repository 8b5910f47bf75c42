"""Every setting of contrastive training, with defaults that suit images or texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.portable.architectures import Modality
from models.training.settings import LoopSettings, ScheduleName

Method = Literal["simclr", "simcse"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(LoopSettings):
    """How an encoder learns to tell rows apart; AdamW under a cosine with warm-up.

    temperature: of the loss. head: components of the projection that the loss compares and that is thrown away after
    training; None compares the vectors themselves. held_out: the share of rows that only measure. patience looks at
    their loss. Of images alone: least_area, the share of an image that a view shows at least; mirrored: whether half
    the views are; colour_strength, s of SimCLR's appendix A; coloured, greyed: the share of views whose colours are
    changed, and taken away. Of texts alone: dropped_tokens, the share of its tokens that a view lacks, beside the
    dropout of the network (token cutoff; Yan et al., ACL 2021, §3.2).

    The defaults are images'. `for_modality` gives those of either: SimCLR (Chen et al., ICML 2020, appendix B.9, for
    small images) and unsupervised SimCSE (Gao et al., EMNLP 2021, §3), trained from the beginning.
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
        """The defaults of images or of texts, but for what is `given`. Raises TypeError for an unknown name."""
        texts: dict[str, Any] = {"epochs": 10, "learning_rate": 3e-4, "temperature": 0.05, "head": None}
        return cls(**((texts if modality == "text" else {}) | given))


def method_of(modality: Modality) -> Method:
    """Images are told apart by SimCLR, texts by SimCSE."""
    return "simcse" if modality == "text" else "simclr"
