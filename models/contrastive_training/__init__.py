"""Contrastive training: encoders learned from raw inputs alone, whose vectors are side-information."""
