"""The processes of the `crosswalk` command, as `tests.zygote` forks them: `python -m tests.chaos.programs`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

from tests.zygote import know_the_gateway, take_orders

_IMPORTED = (
    "app.cli.command",
    "app.cli.service",
    "app.main",
    "app.index",
    "workers.runtime.celery",
    "psycopg",
    "redis",
)


def main() -> None:
    for module in _IMPORTED:
        import_module(module)
    know_the_gateway()
    take_orders(_crosswalk)


def _crosswalk(command: list[str]) -> NoReturn:
    sys.argv = ["crosswalk", *command]
    import_module("app.cli").main()
    sys.exit(0)


if __name__ == "__main__":
    main()
