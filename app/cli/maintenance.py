"""`crosswalk verify`: what is wrong with the data, a line each; and with --repair, what can be done about it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer

from app.cli.settings import missing_database, settings_or_end
from app.composition import Crosswalk, compose
from app.galleries import rebuilds
from app.jobs.service import Jobs
from app.jobs.values import JobState
from app.logs import configure_logging
from app.maintenance.findings import Finding, IndexedGeneration
from app.maintenance.repair import repair as mend
from app.maintenance.verify import verify as findings_of
from app.problems import DamagedFile
from app.settings import Settings
from app.storage.migrate import pending

_NOTHING_TO_VERIFY = 2
_LOOK_SECONDS = 0.2


def verify(data_dir: Path | None, *, repair: bool) -> None:
    """Prints every finding. Exits with status 1 where a fault stays, and 2 where the data cannot be verified; leftovers
    and missing checksums are told, and no faults."""
    settings = settings_or_end(data_dir)
    configure_logging(settings.log_format)
    _refuse_object_store(settings)
    _refuse_what_is_not_there(settings)
    crosswalk = compose(settings)
    try:
        _refuse_another_schema(crosswalk)
        findings = _told(crosswalk)
        if repair and findings:
            generations = mend(crosswalk, findings)
            if generations:
                _rebuilt(crosswalk, generations)
            typer.echo("After the repair:")
            findings = _told(crosswalk)
    finally:
        crosswalk.close()
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


def _told(crosswalk: Crosswalk) -> list[Finding]:
    """The findings, each printed when it is found, and a last line of how many there are."""
    findings = []
    for finding in findings_of(crosswalk):
        typer.echo(finding.line())
        findings.append(finding)
    faults = sum(finding.fault for finding in findings)
    typer.echo(f"Faults: {faults}." if faults else "Everything is there, whole, and agrees.")
    return findings


def _rebuilt(crosswalk: Crosswalk, generations: Sequence[IndexedGeneration]) -> None:
    """Waits until the generations are built anew: by a service that runs, or here."""
    from workers.runtime.program import CROSSWALK, Program
    from workers.runtime.supervisor import Supervisor

    jobs = Jobs(lambda: None)
    only = Program(CROSSWALK.entry, {rebuilds.STEP: CROSSWALK.steps[rebuilds.STEP]}, CROSSWALK.failed)
    worker = Supervisor(crosswalk.settings, only, lambda: None)
    worker.start()
    try:
        for generation in generations:
            subject = rebuilds.rebuild_of(generation.gallery, generation.number)
            while True:
                with crosswalk.database.read() as session:
                    last = jobs.of(session, subject)[-1]
                if last.state not in (JobState.QUEUED, JobState.RUNNING):
                    break
                time.sleep(_LOOK_SECONDS)
            if last.state != JobState.SUCCEEDED:
                typer.echo(f"not rebuilt  gallery {generation.gallery} generation {generation.number}: {last.error}")
    finally:
        worker.stop()


def _refuse_what_is_not_there(settings: Settings) -> None:
    if missing := missing_database(settings):
        _refuse(missing)


def _refuse_object_store(settings: Settings) -> None:
    if settings.storage_url is not None:
        _refuse(
            f"{settings.storage_url} is not verified: an object store compares its objects with checksums of its own. "
            "Leftovers there are removed when a gateway starts, and damaged indexes are built anew when they are found."
        )


def _refuse_another_schema(crosswalk: Crosswalk) -> None:
    try:
        behind = pending(crosswalk.database)
    except DamagedFile as damage:
        _refuse(damage.detail)
    if behind:
        _refuse("The database is not at the newest schema. Run `crosswalk migrate` first.")


def _refuse(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(_NOTHING_TO_VERIFY)
