"""How far a transformation is expected to miss, learned from pairs (FastFill, arXiv 2303.04766)."""

from models.uncertainty.calibration import ReliabilityBin, calibrate, reliability
from models.uncertainty.learning import (
    Candidate,
    LearnedUncertainty,
    NothingToLearn,
    learn_uncertainty,
    transformed_out_of_fold,
)

__all__ = [
    "Candidate",
    "LearnedUncertainty",
    "NothingToLearn",
    "ReliabilityBin",
    "calibrate",
    "learn_uncertainty",
    "reliability",
    "transformed_out_of_fold",
]
