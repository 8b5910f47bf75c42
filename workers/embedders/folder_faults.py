"""What Transformers raises of a folder that it cannot load a model from."""

from safetensors import SafetensorError

NOT_LOADED = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
"""No such files, or ones that are cut short or say nothing known; a library that the model needs and that is not there;
weights of other shapes than the folder's own description of the model."""
