"""Whether anything says which answers of an upgrade's galleries are right, as far as is known at once."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.galleries.service import Galleries
from app.problems import Unprocessable
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.judged import judged_queries

_LABEL = "label"


def refuse_gate_without_labels(
    galleries: Galleries,
    datasets: Datasets,
    session: Session,
    source: str,
    request: ForwardUpgrade,
    names: Sequence[str],
) -> None:
    """Raises Unprocessable where the upgrade is sure to be rejected once all is embedded and learned: its gate asks for
    a metric by label, and no item of the galleries `names` nor any row of its datasets has one, and no judged query
    decides in their place. A dry run measures all the same. A store of the user's own, which may not answer, is not
    asked: where it has a place for labels, the step finds out."""
    if request.dry_run or request.needs_judged_queries or request.gate.metric == "recall@10":
        return
    for info in (galleries.info(name, session) for name in names):
        if info.elsewhere is not None:
            labelled = info.elsewhere.place.label is not None
        else:
            labelled = galleries.store(info).items.has_value(_LABEL)
        if labelled:
            return
    for dataset in request.datasets:
        if datasets.store(dataset, session).rows.has_value(_LABEL):
            return
        if judged_queries(datasets, dataset, (source, request.to), session):
            return
    where = f"no item of {', '.join(names)}"
    if request.datasets:
        where += f" and no row of {' and '.join(request.datasets)}"
    raise Unprocessable.at(
        f"The gate asks for {request.gate.metric}, and nothing says which answers are right: {where} has a label, and "
        "there are no judged queries. Nothing could be accepted. Give items or rows a `label`, or PUT /datasets/<id>/"
        "queries; or, if you know that the new model is the better one, ask for a share of what embedding everything "
        'anew would find: {"metric": "recall@10", "require": {"at_least": 0.7}} as `gate`. With `dry_run` that is '
        "measured without deciding anything.",
        pointer="/gate/metric",
    )
