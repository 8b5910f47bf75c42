"""From the stores to the learning core: rows of datasets joined with items of galleries."""
