"""A fitted transformation as arrays: applied, pushed into the query, saved and loaded with numpy alone.

The gateway imports only this package of the learning core. It needs neither torch nor the code that learns.
Nothing is ever unpickled: an artifact is one safetensors file and one JSON card.

    PortableError
    ├── ArtifactError
    │   ├── CorruptArtifact      checksum, shapes, dtypes or card are wrong: learn or copy the artifact again
    │   └── WrongDirection       a sound artifact, but between other spaces than the caller's
    └── NotPushable              (also a ValueError) this transformation cannot be pushed into the query
"""

from models.portable.architectures import Architecture
from models.portable.artifact import load_transformation, save_transformation
from models.portable.card import Card, Distance, Space
from models.portable.checksummed import CARD, read_sealed
from models.portable.errors import ArtifactError, CorruptArtifact, NotPushable, PortableError, WrongDirection
from models.portable.fusion import Alphas, Fusion, PushedFusion, load_fusion, save_fusion
from models.portable.layers import Affine, Array, Dense, Kernel, Lengths, Network, as_indexed
from models.portable.moments import Linear, Moments
from models.portable.padding import zero_padding
from models.portable.publishing import check_seal, digest, publish, replacing, seal, seal_path, sync
from models.portable.pushing import PushedQueries
from models.portable.score_translation import (
    SCORE_ROUTES,
    ScoreCurve,
    ScoreRoute,
    ScoreTranslation,
    ScoreTranslations,
    TranslatedScores,
    load_score_translations,
    save_score_translations,
)
from models.portable.space_mixture import find_mixture
from models.portable.space_signature import (
    ADVANTAGE,
    AT_HOME,
    ROWS_LOOKED_AT,
    ROWS_TO_JUDGE,
    SpaceJudgement,
    SpaceSignature,
    signature_of_directions,
    spread_out,
    unit_rows,
)
from models.portable.space_sketch import SpaceSketch
from models.portable.transformation import Transformation
from models.portable.uncertainty import (
    Calibration,
    Head,
    Nearest,
    Uncertainty,
    load_uncertainty,
    save_uncertainty,
)

__all__ = [
    "ADVANTAGE",
    "AT_HOME",
    "CARD",
    "ROWS_LOOKED_AT",
    "ROWS_TO_JUDGE",
    "SCORE_ROUTES",
    "Affine",
    "Alphas",
    "Architecture",
    "Array",
    "ArtifactError",
    "Calibration",
    "Card",
    "CorruptArtifact",
    "Dense",
    "Distance",
    "Fusion",
    "Head",
    "Kernel",
    "Lengths",
    "Linear",
    "Moments",
    "Nearest",
    "Network",
    "NotPushable",
    "PortableError",
    "PushedFusion",
    "PushedQueries",
    "ScoreCurve",
    "ScoreRoute",
    "ScoreTranslation",
    "ScoreTranslations",
    "Space",
    "SpaceJudgement",
    "SpaceSignature",
    "SpaceSketch",
    "Transformation",
    "TranslatedScores",
    "Uncertainty",
    "WrongDirection",
    "as_indexed",
    "check_seal",
    "digest",
    "find_mixture",
    "load_fusion",
    "load_score_translations",
    "load_transformation",
    "load_uncertainty",
    "publish",
    "read_sealed",
    "replacing",
    "save_fusion",
    "save_score_translations",
    "save_transformation",
    "save_uncertainty",
    "seal",
    "seal_path",
    "signature_of_directions",
    "spread_out",
    "sync",
    "unit_rows",
    "zero_padding",
]
