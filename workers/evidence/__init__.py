"""From the stores to the learning core: pairs of a dataset joined with galleries, and a gallery to prove on."""
