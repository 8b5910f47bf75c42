"""Where requests may go out to: addresses and secrets that the operator configured, each under a name."""
