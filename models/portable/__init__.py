"""A fitted transformation as arrays: applied, pushed into the query, saved and loaded with numpy alone.

The gateway imports only this package of the learning core. It needs neither torch nor the code that learns.
Nothing is ever unpickled: an artifact is one safetensors file and one JSON card.

    PortableError
    ├── ArtifactError
    │   ├── CorruptArtifact      checksum, shapes, dtypes or card are wrong: learn or copy the artifact again
    │   └── WrongDirection       a sound artifact, but between other spaces than the caller's
    ├── BeyondFloat32            (also a ValueError) a sound artifact makes of some rows what float32 does not hold
    ├── NotPushable              (also a ValueError) this transformation cannot be pushed into the query
    └── NotTranslated            (also a ValueError) what a score is worth in the other space was not learned
"""

from .architectures import Architecture
from .artifact import load_transformation, save_transformation
from .card import Card, Distance, Space
from .checksummed import CARD, read_sealed
from .crossing import Crossing
from .crossing_card import CrossingCard
from .crossing_file import PortableCrossing, check_crossing, crossing_bytes, load_crossing, parse_crossing
from .errors import (
    ArtifactError,
    BeyondFloat32,
    CorruptArtifact,
    NotPushable,
    NotTranslated,
    PortableError,
    WrongDirection,
)
from .fusion import Alphas, Fusion, PushedFusion, load_fusion, save_fusion
from .layers import Affine, Array, Dense, Kernel, Lengths, Network, as_indexed
from .moments import Linear, Moments
from .padding import zero_padding
from .publishing import check_seal, digest, publish, replacing, seal, seal_path, sync
from .pushing import PushedQueries
from .score_translation import (
    SCORE_ROUTES,
    ScoreCurve,
    ScoreRoute,
    ScoreTranslation,
    ScoreTranslations,
    TranslatedScores,
    load_score_translations,
    save_score_translations,
)
from .space_mixture import find_mixture
from .space_signature import (
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
from .space_sketch import SpaceSketch
from .transformation import Transformation
from .uncertainty import (
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
    "BeyondFloat32",
    "Calibration",
    "Card",
    "CorruptArtifact",
    "Crossing",
    "CrossingCard",
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
    "NotTranslated",
    "PortableCrossing",
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
    "check_crossing",
    "check_seal",
    "crossing_bytes",
    "digest",
    "find_mixture",
    "load_crossing",
    "load_fusion",
    "load_score_translations",
    "load_transformation",
    "load_uncertainty",
    "parse_crossing",
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
