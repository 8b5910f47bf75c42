"""Whether the datasets of an upgrade hold the judged queries that it is to be proved by, as far as is known at once."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.datasets.store import RELEVANT
from app.evaluations.holdings import of_queries
from app.problems import Unprocessable
from app.storage.lance_table import embedding_column
from app.upgrades.request import UpgradeRequest


def judged_queries(datasets: Datasets, dataset: str, models: Sequence[str], session: Session | None = None) -> int:
    """How many queries of a dataset have relevant items and vectors of all these models. Raises NotFound."""
    asked = of_queries(datasets, dataset, session)
    return 0 if asked is None else asked.count(asked.given(RELEVANT), *map(asked.native, models))


def of_queries_alone(
    datasets: Datasets, dataset: str, source: str, target: str, session: Session | None = None
) -> bool:
    """Whether an evaluation set judges by its queries alone: it has some, and no row of the new model.

    Raises NotFound.
    """
    rows = datasets.store(dataset, session).rows
    return (
        not rows.has_value(embedding_column(target))
        and judged_queries(datasets, dataset, (source, target), session) > 0
    )


def refuse_gate_without_queries(
    datasets: Datasets, session: Session, source: str, target: str, request: UpgradeRequest
) -> None:
    """Raises Unprocessable where the gate asks for a figure of judged queries, and no dataset holds any with vectors of
    both models."""
    if not request.needs_judged_queries:
        return
    if not request.datasets:
        raise Unprocessable.at(
            f"{request.gate.metric} is measured by judged queries, which pairs that are to be embedded are none of. "
            "Name a dataset that holds some in `evaluation`, or a metric by label.",
            pointer="/gate/metric",
        )
    if not any(judged_queries(datasets, name, (source, target), session) for name in request.datasets):
        raise Unprocessable.at(
            f"{request.gate.metric} is measured by judged queries, and {' and '.join(request.datasets)} hold none with "
            f"relevant items and vectors of both {source!r} and {target!r}. PUT /datasets/{request.datasets[-1]}"
            f"/queries with {RELEVANT}, embedding.{source} and embedding.{target}, or name a metric by label.",
            pointer="/gate/metric",
        )
