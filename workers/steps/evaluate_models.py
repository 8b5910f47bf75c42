"""Evaluates a pair of models, by labels or by judged queries, or a chain of versions, on rows with vectors of all."""

from collections.abc import Callable, Sequence
from typing import Any

from app.composition import Crosswalk, compose
from app.datasets.store import RELEVANT
from app.evaluations.holdings import Holding, of_dataset, of_gallery, of_queries
from app.evaluations.schemas import ChainEvaluation, JudgedEvaluation, PairEvaluation, SearchEvaluation
from app.problems import NotFound
from app.upgrades.accepted_crossings import UpgradeCrossing
from models.portable import ArtifactError
from models.proof.inputs import ProofLimits
from workers.context import StepContext, StepFailed
from workers.evaluations.chain import evaluate_chain
from workers.evaluations.judged import evaluate_judged
from workers.evaluations.pair import evaluate_pair
from workers.evaluations.searches import SEED, SearchBench
from workers.rows.evaluation_rows import Evaluated, read
from workers.rows.items import FLOAT32_BYTES
from workers.rows.judgements import grades_of, judged_rows


def run(context: StepContext) -> None:
    """A result, or a reason why there is none. Evaluating again after a crash gives the same: everything is seeded."""
    crosswalk = compose(context.settings, context.database)
    try:
        evaluation = crosswalk.evaluations.begin(context.lease.subject)
        if isinstance(evaluation, ChainEvaluation):
            result = _chain(context, crosswalk, evaluation)
        elif isinstance(evaluation, JudgedEvaluation):
            result = _judged(context, crosswalk, evaluation)
        else:
            result = _pair(context, crosswalk, evaluation)
    except NotFound as gone:
        raise StepFailed(f"{gone.detail} It was there when the evaluation was asked for.") from gone
    except ArtifactError as error:
        raise StepFailed(f"A crossing that the gallery's vectors went through cannot be used: {error}.") from error
    context.finish(lambda session: crosswalk.evaluations.finish(session, context.lease.subject, result))


def _pair(context: StepContext, crosswalk: Crosswalk, evaluation: PairEvaluation) -> dict[str, Any]:
    """The result of M(queries, gallery) and of what it is compared with, JSON."""
    new, old, against = evaluation.queries, str(evaluation.gallery), evaluation.against
    dataset = of_dataset(crosswalk.datasets, evaluation.dataset)
    items = None if evaluation.gallery_id is None else of_gallery(crosswalk.galleries, evaluation.gallery_id)
    searched = items or dataset
    unconstrained = [] if evaluation.unconstrained is None else [evaluation.unconstrained]
    by_queries = [new, *unconstrained, *([against.queries] if against else [])]
    by_gallery = [old, *unconstrained, *([against.gallery] if against else [])]
    reached = [searched.reached(model) for model in by_gallery]
    embedded = searched.count(*reached) == searched.count(*reached, searched.native(new))
    queries = read(crosswalk, dataset, by_queries, most=ProofLimits.queries, seed=SEED)
    gallery = read(
        crosswalk,
        searched,
        by_gallery,
        [new] if embedded else [],
        most=_most(crosswalk, [*by_gallery, new]),
        seed=SEED,
    )
    for rows, of in ((queries, dataset), (gallery, searched)):
        _check_some(rows, of)
    searches = 1 + embedded + len(unconstrained) + (against is not None)
    bench = SearchBench(crosswalk, queries, gallery, evaluation.metrics, _counter(context, searches))
    return evaluate_pair(bench, evaluation, _crossings(crosswalk, evaluation), items)


def _judged(context: StepContext, crosswalk: Crosswalk, evaluation: JudgedEvaluation) -> dict[str, Any]:
    """The result of a search by judged queries and of what it is compared with, JSON.

    Every row is searched: of rows drawn at random, most that answer a query would be left out.
    """
    against = evaluation.against
    dataset = of_dataset(crosswalk.datasets, evaluation.dataset)
    asked = of_queries(crosswalk.datasets, evaluation.dataset)
    if asked is None:
        raise StepFailed(f"{dataset.name} no longer has judged queries.")
    searched = dataset if evaluation.gallery_id is None else of_gallery(crosswalk.galleries, evaluation.gallery_id)
    by_queries = list(dict.fromkeys([evaluation.queries, *([against.queries] if against else [])]))
    by_gallery = list(dict.fromkeys([str(evaluation.gallery), *([against.gallery] if against else [])]))
    most, held = _most(crosswalk, by_gallery), searched.count(*map(searched.reached, by_gallery))
    if held > most:
        raise StepFailed(
            f"{searched.name} has {held} rows to search, of which {most} fit into CROSSWALK_EVALUATION_MEMORY_BYTES. "
            "Set it higher; judged queries search every row."
        )
    queries = read(crosswalk, asked, by_queries, where=[asked.given(RELEVANT)], most=ProofLimits.queries, seed=SEED)
    gallery = read(crosswalk, searched, by_gallery, most=most, seed=SEED)
    for rows, of in ((queries, asked), (gallery, searched)):
        _check_some(rows, of)
    judged = judged_rows(grades_of(asked.rows, queries.id.tolist()), gallery.id.tolist())
    tick = _counter(context, 1 + (against is not None))
    bench = SearchBench(crosswalk, queries, gallery, None, tick)
    items = None if evaluation.gallery_id is None else searched
    return evaluate_judged(bench, judged, evaluation, _crossings(crosswalk, evaluation), items, tick)


def _crossings(crosswalk: Crosswalk, evaluation: SearchEvaluation) -> dict[str, UpgradeCrossing]:
    """The crossings that an evaluation names, by upgrade."""
    named = (evaluation.via, evaluation.against.via if evaluation.against else None)
    return {via: crosswalk.accepted_crossings.named(via) for via in named if via}


def _chain(context: StepContext, crosswalk: Crosswalk, evaluation: ChainEvaluation) -> dict[str, Any]:
    """The result of a chain of versions, each searched by itself and by every later one, JSON."""
    dataset = of_dataset(crosswalk.datasets, evaluation.dataset)
    rows = read(crosswalk, dataset, evaluation.models, most=_most(crosswalk, evaluation.models), seed=SEED)
    _check_some(rows, dataset)
    cells = len(evaluation.models) * (len(evaluation.models) + 1) // 2
    queries = rows.drawn(ProofLimits.queries, SEED)
    bench = SearchBench(crosswalk, queries, rows, evaluation.metrics, _counter(context, cells))
    return evaluate_chain(bench, evaluation, crosswalk.accepted_crossings.accepted)


def _most(crosswalk: Crosswalk, models: Sequence[str]) -> int:
    """How many rows with vectors of these models are held in memory."""
    row_bytes = FLOAT32_BYTES * sum(crosswalk.models.space(model).dimension for model in models)
    return max(1, crosswalk.settings.evaluation_memory_bytes // row_bytes)


def _check_some(rows: Evaluated, holding: Holding) -> None:
    if not len(rows):
        raise StepFailed(f"{holding.name} no longer has rows with vectors of all these models.")


def _counter(context: StepContext, total: int) -> Callable[[], None]:
    """Reports one more search measured at every call; `total` is how many there will be, at least."""
    done = 0
    context.progress(0, total)

    def one_more() -> None:
        nonlocal done
        done += 1
        context.progress(done, max(done, total))

    return one_more
