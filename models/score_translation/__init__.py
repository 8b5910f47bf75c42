"""What scores of the old model's search are worth in the new one, learned from held-out queries."""

from models.score_translation.fit import FEWEST_QUERIES, FittedTranslation, KeptItems, fit_score_translation
from models.score_translation.pairs import ScorePairs, draw_score_pairs
from models.score_translation.shown_scores import shown_scores, shown_scores_of_pushed

__all__ = [
    "FEWEST_QUERIES",
    "FittedTranslation",
    "KeptItems",
    "ScorePairs",
    "draw_score_pairs",
    "fit_score_translation",
    "shown_scores",
    "shown_scores_of_pushed",
]
