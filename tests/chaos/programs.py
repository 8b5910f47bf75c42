"""The processes of the `crosswalk` command, as `tests.zygote` forks them: `python -m tests.chaos.programs`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

from app.forking import forked_process
from tests.nursery import Nursery
from tests.zygote import know_the_gateway, take_orders
from workers.runtime.program import CROSSWALK

_IMPORTED = (
    "app.cli.command",
    "app.cli.service",
    "app.main",
    "app.index",
    "workers.runtime.celery",
    "psycopg",
    "redis",
)
_WITH_STEPS = ("serve", "worker")
"""Commands that start steps, which are forked as well."""


def main() -> None:
    for module in _IMPORTED:
        import_module(module)
    know_the_gateway()
    take_orders(_crosswalk, _prepare)


def _prepare(command: list[str]) -> None:
    if command and command[0] in _WITH_STEPS:
        for module in (CROSSWALK.entry, *CROSSWALK.steps.values()):
            import_module(module)


def _crosswalk(command: list[str]) -> NoReturn:
    if command and command[0] in _WITH_STEPS:
        forked_process.start_interpreter = Nursery.forked().start
    sys.argv = ["crosswalk", *command]
    import_module("app.cli").main()
    sys.exit(0)


if __name__ == "__main__":
    main()
