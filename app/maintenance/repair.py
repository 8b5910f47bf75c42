"""Mends what a verification found, as far as that can be made from what is whole."""

from collections.abc import Iterable

import lance

from app.composition import Crosswalk
from app.galleries.rebuilds import Rebuilds
from app.jobs.service import Jobs
from app.leftovers import forget_counts_of_gone, sweep_leftovers
from app.maintenance.findings import Finding, IndexedGeneration
from app.storage.checksums import seal_table
from models.portable import seal_path


def repair(crosswalk: Crosswalk, findings: Iterable[Finding]) -> list[IndexedGeneration]:
    """Removes leftovers and what is to be removed, seals what has no checksum, and asks for the rebuilds.

    Returns the generations that a worker is to build anew; it does so whenever one runs.
    """
    findings = list(findings)
    if any(finding.kind == "leftover" for finding in findings):
        sweep_leftovers(crosswalk)  # which looks anew: something may have been taken into use meanwhile
        forget_counts_of_gone(crosswalk)
    for finding in findings:
        if finding.kind == "damaged" and finding.remedy == "remove":
            finding.path.unlink(missing_ok=True)
            seal_path(finding.path).unlink(missing_ok=True)
        elif finding.remedy == "seal":
            seal_table(finding.path, lance.dataset(str(finding.path)))
    generations = list(dict.fromkeys(f.generation for f in findings if f.generation is not None))
    rebuilds = Rebuilds(crosswalk.database, Jobs(crosswalk.doorbell.ring))
    for generation in generations:
        rebuilds.ask(generation.gallery, generation.number)
    return generations
