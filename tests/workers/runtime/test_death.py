import signal

import pytest

from workers.heartbeat import LEASE_LOST
from workers.runtime.death import DISK_FULL, EMBEDDER_IN_VAIN, SERVER_AWAY, explain
from workers.runtime.failure import UNLIKELY_TO_HEAL


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP"])
def test_fault_of_a_native_library_is_worth_one_repeat_and_says_what_to_try(name: str) -> None:
    death = explain(-signal.Signals[name])
    assert (death.how, death.attempts) == (f"was killed by {name}", 2)
    assert death.meaning.startswith("A native library")
    assert "CROSSWALK_DEVICE" in death.meaning


@pytest.mark.parametrize(
    ("name", "attempts", "word"), [("SIGKILL", 3, "memory"), ("SIGTERM", None, "asked it to end"), ("SIGHUP", None, "")]
)
def test_a_step_that_is_killed_is_repeated_twice_and_one_asked_to_end_as_often_as_any(
    name: str, attempts: int | None, word: str
) -> None:
    death = explain(-signal.Signals[name])
    assert (death.how, death.attempts) == (f"was killed by {name}", attempts)
    assert word in death.meaning


def test_signal_without_a_name_has_its_number() -> None:
    assert explain(-(signal.SIGRTMIN + 3)).how == f"was killed by signal {signal.SIGRTMIN + 3}"


@pytest.mark.parametrize("status", [DISK_FULL, SERVER_AWAY])
def test_step_that_lacks_space_or_a_server_waits_for_it(status: int) -> None:
    assert status not in (LEASE_LOST, UNLIKELY_TO_HEAL)
    assert explain(status).waits
    assert explain(status).attempts is None


def test_an_embedder_asked_in_vain_costs_an_attempt() -> None:
    assert EMBEDDER_IN_VAIN not in (LEASE_LOST, UNLIKELY_TO_HEAL, DISK_FULL, SERVER_AWAY)
    assert not explain(EMBEDDER_IN_VAIN).waits


@pytest.mark.parametrize("status", [0, 1, 75])
def test_exit_status_is_no_signal(status: int) -> None:
    death = explain(status)
    assert (death.how, death.meaning, death.attempts) == (f"ended with exit status {status}", "", None)
