"""OpenAI's embeddings call, answered by a new model in the space of an old index, whose user changes a URL alone."""
