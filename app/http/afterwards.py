"""Work that a request leaves for after its answer."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec

import structlog
from fastapi import BackgroundTasks

log = structlog.get_logger(__name__)

AfterArguments = ParamSpec("AfterArguments")


def afterwards(
    tasks: BackgroundTasks,
    do: Callable[AfterArguments, object],
    *given: AfterArguments.args,
    **named: AfterArguments.kwargs,
) -> None:
    """Does something in a thread once the answer is sent. What goes wrong is logged, and nothing else: the answer is
    true already, and an exception would break the connection that the client's next request may be on."""
    tasks.add_task(_logged, partial(do, *given, **named), do.__qualname__)


def _logged(do: Callable[[], object], what: str) -> None:
    try:
        do()
    except Exception as error:  # such as of a gallery that was deleted meanwhile
        log.warning("what was left for after the answer was not done", what=what, error=repr(error))
