"""Contrastive training: encoders learned from raw inputs alone, whose vectors are side-information.

The two views of a row are random crops of an image (SimCLR; Chen et al., ICML 2020), or one text under two dropout
masks (unsupervised SimCSE; Gao et al., EMNLP 2021). The vectors, stored beside those of another model, help a later
transformation of these (FCT; Ramanujan et al., CVPR 2022).
"""

from models.contrastive_training.loop import ContrastiveEpoch
from models.contrastive_training.settings import ContrastiveMethod, ContrastiveSettings, method_of
from models.contrastive_training.training import DIMENSION, TrainedEncoder, fingerprint, train_contrastive
from models.training import NotTrainable

__all__ = [
    "DIMENSION",
    "ContrastiveEpoch",
    "ContrastiveMethod",
    "ContrastiveSettings",
    "NotTrainable",
    "TrainedEncoder",
    "fingerprint",
    "method_of",
    "train_contrastive",
]
