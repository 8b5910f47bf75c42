"""The report of an upgrade, put together from what its steps wrote down: see `GET /upgrades/<id>/report`."""

from typing import Any


def report_of(learned: dict[str, Any] | None, proofs: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was learned and, once it was proved, what is reported of each gallery; None before anything was learned.

    learned: what the training step wrote down. proofs: the report of every gallery by its name, as the step that proves
    the upgrade wrote it down. Each gallery's recommendation and advice stand in its report, and once more at the top,
    by gallery; reports of earlier releases have no recommendation.
    """
    if learned is None:
        return None
    report: dict[str, Any] = {"learned": learned}
    if proofs is not None:
        report["galleries"] = proofs
        report["recommendation"] = {
            name: proof["recommendation"] for name, proof in proofs.items() if "recommendation" in proof
        }
        report["advice"] = {name: proof["advice"] for name, proof in proofs.items()}
    return report
