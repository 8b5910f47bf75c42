"""What can be wrong with a request to embed."""


class CannotEmbed(RuntimeError):
    """Sentences for the user: what is wrong, and with which file or row."""
