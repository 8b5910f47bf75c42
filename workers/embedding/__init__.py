"""Files of images or texts → vectors of a trained model, as a user asks for at the command line."""

from workers.embedding.job import embed_files, export
from workers.embedding.problems import CannotEmbed

__all__ = ["CannotEmbed", "embed_files", "export"]
