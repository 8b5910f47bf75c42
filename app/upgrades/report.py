"""The report of an upgrade, put together from what its steps found."""

from typing import Any


def report_of(learned: dict[str, Any] | None, proofs: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was learned, and what was proved of each gallery; None before anything was.

    The advice stands at the top where there is one gallery, which is the usual case; with several, each has its own.
    """
    if learned is None:
        return None
    report: dict[str, Any] = {"learned": learned}
    if proofs is not None:
        report["galleries"] = proofs
        report["advice"] = {name: proof["advice"] for name, proof in proofs.items()}
    return report
