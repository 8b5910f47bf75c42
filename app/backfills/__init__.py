"""Backfilling by an embedder: transformed items are re-embedded, the most useful first, as far as a budget goes."""
