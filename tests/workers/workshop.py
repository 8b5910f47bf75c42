"""A service without a worker, whose steps are done in the test's own process, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.settings import Settings
from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import UpgradeState
from tests.e2e.studio import Studio, lists
from tests.e2e.user import PARQUET, parquet
from tests.serving import serving
from tests.workers.stepping import do_step
from tests.worlds import Floats


class Workshop(Studio):
    """A studio whose upgrades go on when the test says so."""

    def __init__(self, client: httpx.Client, crosswalk: Crosswalk) -> None:
        super().__init__(client)
        self.crosswalk, self.settings = crosswalk, crosswalk.settings

    def with_gallery(self, name: str) -> Workshop:
        """This workshop with another gallery of the old model, made now, in place of its own."""
        other = copy.copy(self)
        other.gallery = f"{self.gallery}-{name}"
        self.post("/galleries", {"id": other.gallery, "model": self.old}, 201)
        return other

    def put_items(self, places: Sequence[int], old: Floats | None = None, **columns: Any) -> None:
        """Items of pictures, with their own vectors and labels unless others are given."""
        vectors = self.pictures.old[list(places)] if old is None else old
        self.put_body(parquet(pa.table({**self._known(places), "embedding": lists(vectors), **columns})), PARQUET)

    def artifacts(self, upgrade: str) -> UpgradeArtifacts:
        return UpgradeArtifacts(self.settings.artifacts_dir, upgrade)

    def step(self, *, cut_off: bool = False) -> str:
        """Does the step that waits, as its process would; its name. `cut_off`: all of it but its last transaction."""
        return do_step(self.crosswalk, cut_off=cut_off)

    def ends(self, upgrade: str) -> dict[str, Any]:
        """The upgrade when no step of it waits any more."""
        while self.upgrade(upgrade)["state"] in ("queued", "training", "evaluating"):
            self.step()
        return self.upgrade(upgrade)


def compatible_upgrade(shop: Workshop, galleries: Sequence[str], **more: Any) -> UpgradeInfo:
    """An upgrade that trains a model, as its step is given it; nothing is stored of it. asked: more of the request."""
    body = {"to": {"id": shop.new, "architecture": "small-resnet"}, "strategy": "compatible", "dataset": shop.dataset}
    request = CompatibleUpgrade.model_validate({**body, **more})
    return UpgradeInfo("upg", shop.old, shop.new, tuple(galleries), UpgradeState.TRAINING, request)


@contextmanager
def workshop(settings: Settings) -> Iterator[Workshop]:
    """A workshop of its own, on the processor."""
    quick = settings.model_copy(update={"device": "cpu"})
    crosswalk = compose(quick)
    with serving(quick) as client:
        yield Workshop(client, crosswalk)
    crosswalk.close()
