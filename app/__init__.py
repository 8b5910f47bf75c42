"""The gateway, and what gateway and workers share. Never imports torch."""

__version__ = "0.1.0"
