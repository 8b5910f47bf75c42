"""Learning: from which rows and models, and what is written about the result."""
