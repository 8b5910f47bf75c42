"""The registry: which versions of embedding models there are. Not the models themselves: they may be black boxes."""
