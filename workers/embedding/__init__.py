"""Embeds files of images or texts with a trained model, for the command line."""

from workers.embedding.job import embed_files, export
from workers.embedding.problems import CannotEmbed

__all__ = ["CannotEmbed", "embed_files", "export"]
