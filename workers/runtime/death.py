"""What the exit status of a step's process says: how it ended, what that usually means, and whether to try again."""

import signal
from dataclasses import dataclass

from workers.runtime.failure import UNLIKELY_TO_HEAL

_SENTENCES: dict[int, str] = {
    signal.SIGKILL: "Most often the system was out of memory and ended its largest process: give it more memory, or "
    "ask for less at a time (smaller batches, a smaller model, fewer steps side by side).",
    signal.SIGTERM: "Someone, or the machine's own shutting down, asked it to end.",
    signal.SIGSEGV: "A native library read or wrote where it must not.",
    signal.SIGBUS: "A native library read or wrote where there is no memory, as when /dev/shm is full.",
    signal.SIGABRT: "A native library gave up on finding its own memory damaged or a check of its own failed.",
    signal.SIGILL: "A native library was built for a processor with other instructions than this one.",
    signal.SIGFPE: "A native library divided by zero.",
    signal.SIGTRAP: "A native library stopped at a check of its own.",
    signal.SIGSYS: "A native library made a system call that is forbidden here.",
}
_FAULTS = tuple(number for number in _SENTENCES if number not in (signal.SIGKILL, signal.SIGTERM))
_REMEDY = (
    "The same step is likely to end so again on this machine: try another device (CROSSWALK_DEVICE, "
    "CROSSWALK_INDEX_DEVICE), another machine, or other versions of PyTorch, FAISS and their drivers; the step's log "
    "shows where it was."
)
DISK_FULL = 74
"""The exit status of a step that found no space on a disk (sysexits' EX_IOERR)."""
SERVER_AWAY = 69
"""The exit status of a step that found a server away that keeps indexes, or objects (sysexits' EX_UNAVAILABLE)."""
EMBEDDER_IN_VAIN = 76
"""The exit status of a step that asked an embedder in vain, as often as it may, or for what may have been charged
(sysexits' EX_PROTOCOL)."""
_UNEXPECTED = "Nobody foresaw this: the log of the worker says where it happened."
_ATTEMPTS_OF_FAULTS = 2
_ATTEMPTS_OF_KILLED = 3


@dataclass(frozen=True)
class Death:
    """How a process ended that did not finish its job.

    `attempts` is how many attempts there are to be in all, whatever ended the earlier ones; None where only the
    settings limit that. `waits`: the step waits for space, or for a server, and is tried again at no attempt's cost.
    """

    how: str
    meaning: str
    attempts: int | None
    waits: bool = False


def explain(status: int | None) -> Death:
    """What an exit status means, in subprocess's convention: negative is the number of the signal that killed it.

    A fault in a native library comes back with the same input: two attempts in all, the second from the checkpoint, in
    case memory or timing had a part in the first. A step that is killed outright has three: memory that others took may
    be free again, but one that needs more than there is would be killed every time. One that was asked to end did
    nothing wrong: only the settings limit that.
    """
    if status == DISK_FULL:
        return Death("found no space on a disk", "It is tried again until there is.", None, waits=True)
    if status == SERVER_AWAY:
        return Death("found a server away that it needs", "It is tried again until that answers.", None, waits=True)
    if status == EMBEDDER_IN_VAIN:
        return Death("asked an embedder in vain", "Whoever runs the service looks whether it works.", None)
    if status == UNLIKELY_TO_HEAL:
        return Death("failed", _UNEXPECTED, _ATTEMPTS_OF_FAULTS)
    if status is None or status >= 0:
        return Death(f"ended with exit status {status}", "", None)
    number = -status
    fault = number in _FAULTS
    meaning = " ".join(filter(None, (_SENTENCES.get(number), _REMEDY if fault else None)))
    attempts = _ATTEMPTS_OF_FAULTS if fault else _ATTEMPTS_OF_KILLED if number == signal.SIGKILL else None
    return Death(f"was killed by {_name(number)}", meaning, attempts)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # Real-time signals have numbers only.
        return f"signal {number}"
