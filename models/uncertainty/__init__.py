"""How far a transformation is expected to miss, learned from pairs (FastFill, arXiv 2303.04766)."""

from models.uncertainty.calibration import ReliabilityBin, calibrate, reliability
from models.uncertainty.learning import (
    Candidate,
    LearnedUncertainty,
    NothingToLearn,
    cross_val_fits,
    cross_val_transform,
    held_out_folds,
    learn_uncertainty,
)

__all__ = [
    "Candidate",
    "LearnedUncertainty",
    "NothingToLearn",
    "ReliabilityBin",
    "calibrate",
    "cross_val_fits",
    "cross_val_transform",
    "held_out_folds",
    "learn_uncertainty",
    "reliability",
]
