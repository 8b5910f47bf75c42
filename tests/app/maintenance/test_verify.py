"""What is looked at while it changes."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.composition import compose
from app.galleries.schemas import NewGallery
from app.maintenance import gallery_checks
from app.maintenance.findings import Finding
from app.maintenance.table_checks import table_findings
from app.maintenance.verify import verify
from app.registry.schemas import NewModel
from app.settings import Settings


@pytest.mark.usefixtures("database")
def test_a_gallery_that_is_deleted_while_it_is_looked_at_has_no_findings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    crosswalk = compose(settings)
    crosswalk.models.create(NewModel(id="m", dimension=2, metric="ip"))
    crosswalk.galleries.create(NewGallery(id="g", model="m"))

    def looked_at(*arguments: Any, **options: Any) -> Iterator[Finding]:
        yield from table_findings(*arguments, **options)
        crosswalk.galleries.delete("g")

    monkeypatch.setattr(gallery_checks, "table_findings", looked_at)
    try:
        assert list(verify(crosswalk)) == []
    finally:
        crosswalk.close()
