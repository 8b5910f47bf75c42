"""The gateway, and what gateway and workers share. Never imports torch."""
