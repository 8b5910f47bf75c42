"""Contrastive training: encoders learned from raw inputs alone, whose vectors are side-information.

Images are told apart by two differing views of each (SimCLR; Chen et al., ICML 2020), texts by what dropout leaves of
them (unsupervised SimCSE; Gao et al., EMNLP 2021). Such vectors, stored beside a model's, help a later crossing from it
(FCT; Ramanujan et al., CVPR 2022).
"""

from models.contrastive_training.loop import ContrastiveEpoch
from models.contrastive_training.settings import ContrastiveSettings, Method, method_of
from models.contrastive_training.training import DIMENSION, TrainedEncoder, fingerprint, train_contrastive
from models.training import NotTrainable

__all__ = [
    "DIMENSION",
    "ContrastiveEpoch",
    "ContrastiveSettings",
    "Method",
    "NotTrainable",
    "TrainedEncoder",
    "fingerprint",
    "method_of",
    "train_contrastive",
]
