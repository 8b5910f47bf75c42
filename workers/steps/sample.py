"""Chooses which items of a gallery to embed with the new model, from what is stored of them."""

from app.composition import compose
from app.galleries.samples import SampleRequest
from workers.context import StepContext
from workers.rows.chosen_sample import choose_sample


def run(context: StepContext) -> None:
    """Streams the gallery once, and writes the sample down."""
    crosswalk = compose(context.settings, context.database)
    choose_sample(crosswalk, SampleRequest(**context.lease.arguments), context.progress)
    context.finish(lambda _session: None)
