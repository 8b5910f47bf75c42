"""An upgrade from files alone: what `crosswalk local` prints, and how it ends."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import ValidationError

from app.cli.ending import give_up, refuse, told_in_one_line
from app.cli.gate import gate_body
from app.cli.settings import settings_or_end
from app.demo.service import ended_by_signals
from app.evaluations.schemas import RetrievalMetric
from app.logs import configure_logging
from app.problems import Unprocessable
from app.upgrades.request import Gate
from models.portable import Distance
from workers.local.files import WrongFile
from workers.local.run import LocalUpgrade, LocalVerdict, RunFailed, run

REJECTED = 3
"""The exit status where everything went well, and the gate did not accept the crossing."""


def run_local(
    old: Path,
    sample: Path,
    queries: Path | None,
    out: Path,
    metrics: tuple[Distance, Distance],
    method: str,
    gate_metric: str,
    require: str,
    *,
    as_json: bool,
) -> None:
    """Runs it, and exits with 0 or REJECTED; with 2 for files or options that are wrong, and with 1 for all else."""
    settings_or_end(None)
    configure_logging("console")
    logging.disable(logging.WARNING)  # what a service's log is for; what goes wrong here ends the command
    asked = LocalUpgrade(old, sample, queries, metrics, method, _gate(gate_metric, require, queries))
    with told_in_one_line(), ended_by_signals():
        try:
            verdict = run(asked, out, lambda line: typer.echo(line, err=True))
        except WrongFile as error:
            refuse(str(error))
        except Unprocessable as problem:
            refuse(problem.detail)
        except RunFailed as error:
            give_up(str(error))
    typer.echo(json.dumps(_summary(verdict), indent=2, ensure_ascii=False) if as_json else _told(verdict))
    if not verdict.accepted:
        raise typer.Exit(REJECTED)


def _gate(metric: str, require: str, queries: Path | None) -> dict[str, Any]:
    """The gate as upgrades are asked it; one that there is not, or that nothing can tell, ends the command."""
    by_label = ", ".join(get_args(RetrievalMetric))
    gate = gate_body(metric, require)
    try:
        Gate.model_validate(gate)
    except ValidationError as error:
        if error.errors(include_url=False)[0]["loc"][0] == "metric":
            refuse(f"--gate-metric is {by_label}, or, of judged queries, ndcg@10 and such; not {metric!r}.")
        refuse(f"--require is better_than_old, not_worse_than_old, or a share such as 0.85; not {require!r}.")
    if queries is None and metric not in get_args(RetrievalMetric):
        refuse(f"--gate-metric {metric} is measured by judged queries, which --queries gives; without, {by_label} are.")
    return gate


def _summary(verdict: LocalVerdict) -> dict[str, Any]:
    """What a machine wants to know; report.json has the rest."""
    proof = _proof(verdict)
    return {
        "accepted": verdict.accepted,
        "reason": verdict.reason,
        "recommendation": proof["recommendation"],
        "metrics": proof["metrics"],
        "method": verdict.report["learned"]["method"],
        "pairs": verdict.report["learned"]["pairs"],
        "written": {name: str(path) for name, path in verdict.written.items()},
    }


def _told(verdict: LocalVerdict) -> str:
    """The same for a person."""
    return "\n".join(
        [
            "Accepted." if verdict.accepted else "Rejected.",
            _proof(verdict)["recommendation"]["sentence"],
            verdict.reason,
            *(f"  {path}" for path in verdict.written.values()),
        ]
    )


def _proof(verdict: LocalVerdict) -> Mapping[str, Any]:
    (proof,) = verdict.report["galleries"].values()
    return dict(proof)
