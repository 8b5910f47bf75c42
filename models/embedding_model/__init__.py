"""A trained embedding model: its weights, card and preprocessing, saved, loaded, exported and embedded with."""

from models.embedding_model.artifact import load, save, zipped
from models.embedding_model.card import ModelCard, TrainedOn
from models.embedding_model.model import EmbeddingModel
from models.embedding_model.onnx import NotExported, export_onnx

__all__ = ["EmbeddingModel", "ModelCard", "NotExported", "TrainedOn", "export_onnx", "load", "save", "zipped"]
