"""Mends what a verification found, as far as that can be made from what is whole."""

import shutil
from collections.abc import Iterable

import lance

from app.composition import Crosswalk
from app.galleries.rebuilds import Rebuilds
from app.jobs.service import Jobs
from app.maintenance.findings import Finding, IndexedGeneration
from app.maintenance.orphans import orphan_findings
from app.storage.checksums import seal_table
from models.portable import seal_path


def repair(crosswalk: Crosswalk, findings: Iterable[Finding]) -> list[IndexedGeneration]:
    """Removes what is to be removed, seals what has no checksum, and asks for the rebuilds.

    Returns the generations that a worker is to build anew; it does so whenever one runs.
    """
    findings = list(findings)
    orphans = {finding.path for finding in orphan_findings(crosswalk)} if findings else set()
    for finding in findings:
        if finding.kind == "orphan" and finding.path in orphans:  # nothing has taken it into use meanwhile
            shutil.rmtree(finding.path) if finding.path.is_dir() else finding.path.unlink()
        elif finding.remedy == "remove" and finding.kind != "orphan":
            finding.path.unlink(missing_ok=True)
            seal_path(finding.path).unlink(missing_ok=True)
        elif finding.remedy == "seal":
            seal_table(finding.path, lance.dataset(str(finding.path)))
    generations = list(dict.fromkeys(f.generation for f in findings if f.generation is not None))
    rebuilds = Rebuilds(crosswalk.database, Jobs(crosswalk.doorbell.ring))
    for generation in generations:
        rebuilds.ask(generation.gallery, generation.number)
    return generations
