"""Raw input to tensors: images decoded and augmented, texts tokenised, in worker processes."""

from models.inputs.arrow_column import ArrowColumn
from models.inputs.loader import Batch, Loader
from models.inputs.preparing import FORMATS, BadInput, bad_rows, decoded_image
from models.inputs.preprocessing import Preprocessing, Views, learn_tokenizer
from models.inputs.subset import Inputs, InputSubset

__all__ = [
    "FORMATS",
    "ArrowColumn",
    "BadInput",
    "Batch",
    "InputSubset",
    "Inputs",
    "Loader",
    "Preprocessing",
    "Views",
    "bad_rows",
    "decoded_image",
    "learn_tokenizer",
]
