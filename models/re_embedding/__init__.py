"""Which items to embed with the new model, what that gains, and what it costs."""
