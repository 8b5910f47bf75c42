"""What a worker runs: which steps it knows, which process does them, and who is told when one has failed for good."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.jobs.leases import Failed
from app.settings import Settings
from workers.steps import STEPS


@dataclass(frozen=True)
class Program:
    """`entry` is the module that `python -m` starts for one step; `steps` names the module of each; `first` names those
    steps that a worker makes ready for as it starts. After a minute without work that is forgotten.

    Only steps named here are claimed, so that a job of a newer version waits for a worker that knows it, and nothing in
    the database can choose what is imported.
    """

    entry: str
    steps: Mapping[str, str]
    failed: Callable[[Settings], Failed]
    first: tuple[str, ...] = ()


def _tell_subject(settings: Settings) -> Failed:
    from app.composition import compose  # The service's parts: the supervisor of a test's program has others.

    return compose(settings).step_failed


# Of what needs torch, none: a service that only serves searches is to have its memory.
CROSSWALK = Program("workers.runtime.step", STEPS, _tell_subject, first=("reindex",))
