"""The `crosswalk` command. The one place that composes gateway and worker.

A command imports what it needs when it runs, so that `--help` and the client commands need not wait for the service's
libraries.
"""

from app.cli.command import main

__all__ = ["main"]
