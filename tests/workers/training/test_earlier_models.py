"""A gallery with items of several versions, upgraded in one go: each item by the way that was measured to be better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from app.artifacts.charts import chart_key, open_drawings
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import compose
from app.galleries.lineage import Lineage
from app.settings import Settings
from app.storage.lance_table import ROW_ID
from app.upgrades.report_page import charts_of
from models.portable import Array
from tests.e2e.user import SETTLED
from tests.serving import serving
from tests.versions import Versions
from tests.workers.stepping import do_step
from tests.worlds import Items, World, world

BOTH, LATER = 40, 40


@pytest.fixture
def versions(settings: Settings) -> Iterator[Versions]:
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Versions(client, crosswalk, _narrow(world(items=400, queries=120, classes=8), 5))
    crosswalk.close()


@pytest.fixture
def faithful(settings: Settings) -> Iterator[Versions]:
    """Whose second version sees all that the others see."""
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Versions(client, crosswalk, world(items=400, queries=120, classes=8))
    crosswalk.close()


def _narrow(seen: World, directions: int) -> World:
    """A second version that sees little of what the first and the third see, and that clearly."""
    _, _, axes = np.linalg.svd(seen.gallery.new - seen.gallery.new.mean(axis=0), full_matrices=False)
    onto = (axes[:directions].T @ axes[:directions]).astype(np.float32)
    gallery, queries = (replace(items, new=items.new @ onto) for items in (seen.gallery, seen.queries))
    return World(gallery, queries)


def crossed(s: Versions, source: str, target: str, state: str = "active", **more: Any) -> dict[str, Any]:
    """An upgrade whose steps were all done, and that was switched to unless another end is expected."""
    upgrade = s.start(source=source, to=target, **more)
    while (found := s.upgrade(upgrade))["state"] not in SETTLED:
        do_step(s.crosswalk)
    assert found["state"] == state, found["reason"]
    return found


def three_kinds(s: Versions, pairs: Items, *known: str) -> tuple[Items, Items, Items]:
    """Upgrades to the second version, then writes: items of the first alone, of both, and of the second alone."""
    items = s.world.gallery
    ends = (0, len(items) - BOTH - LATER, len(items) - LATER, len(items))
    alone, both, later = (items.take(slice(start, end)) for start, end in pairwise(ends))
    for part in (alone, both):
        s.put(part)
    s.put_pairs(pairs, s.new, *known)
    crossed(s, s.old, s.new)
    for part in (both, later):
        s.put(part, s.new)
    return alone, both, later


def lineage(s: Versions, *, uncertainty: bool = False) -> Lineage:
    info = s.crosswalk.galleries.info(s.gallery)
    return s.crosswalk.galleries.lineage(info, info.active, uncertainty=uncertainty)


def stored(s: Versions, items: Items) -> Array:
    """What the active generation's store holds of items."""
    info = s.crosswalk.galleries.info(s.gallery)
    store = s.crosswalk.galleries.store(info)
    generation = store.generation(info.active, info.current.space.dimension)
    known = {int(row): v for part in generation.scan() for row, v in zip(part.rows, part.vectors, strict=True)}
    records = store.items.by_id(items.id, ["id"]).to_pylist()
    rows = {one["id"]: one[ROW_ID] for one in records}
    return np.stack([known[rows[one]] for one in items.id])


def test_items_of_several_versions_upgrade_in_one_go_each_by_the_better_way(versions: Versions) -> None:
    s = versions
    alone, both, later = three_kinds(s, s.world.gallery.take(slice(0, 200)), s.newest)
    upgrade = crossed(s, s.new, s.newest)
    (link,) = upgrade["report"]["learned"]["chain"]
    assert (link["from"], link["items"], link["pairs"], link["kept"]) == (s.old, len(alone), 200, "direct"), link
    assert link["direct"]["mean"] > link["composed"]["mean"]
    notes = upgrade["report"]["galleries"][s.gallery]["notes"]
    kept = open_drawings(UpgradeArtifacts(s.crosswalk.settings.artifacts_dir, upgrade["id"]).charts)
    assert list(kept) == [chart_key(chart) for chart in charts_of(upgrade["report"])], "what its page will ask for"
    assert any(f"{len(alone)} items" in note and "one after the other" in note for note in notes)
    spaces = [s.crosswalk.models.space(model) for model in (s.old, s.new, s.newest)]
    artifacts = UpgradeArtifacts(s.crosswalk.settings.artifacts_dir, upgrade["id"])
    direct = open_crossing(artifacts.shortcut(s.old), spaces[0], spaces[2])
    second = open_crossing(artifacts, spaces[1], spaces[2])
    np.testing.assert_allclose(stored(s, alone), direct.chosen.apply(alone.old), atol=1e-5)
    for part in (both, later):
        np.testing.assert_allclose(stored(s, part), second.chosen.apply(part.new), atol=1e-5)
    assert direct.uncertainty is not None
    assert lineage(s, uncertainty=True).shortcuts[0, 2].uncertainty is not None
    assert lineage(s).shortcuts[0, 2].uncertainty is None
    assert {one["transformed_items"] for one in s.generations().values()} >= {400}
    _late_writes_and_rollback(s, upgrade["id"], direct.chosen.apply(alone.old[:1]))


def _late_writes_and_rollback(s: Versions, upgrade: str, transformed: Array) -> None:
    """An item of the first version that comes after the switch is found where a direct crossing puts it, exactly."""
    first = s.world.gallery.take(slice(0, 1))
    late = replace(first, id=["late"])
    s.put(late)
    answer = s.search(transformed, s.newest, k=2)
    assert set(answer.ids[0]) == {"late", first.id[0]}
    np.testing.assert_allclose(answer.scores[0], 1, atol=1e-5)
    s.post(f"/upgrades/{upgrade}/rollback")
    back = s.search(s.world.queries.new[:1], s.new, k=402)
    assert "late" in back.ids[0]
    assert len(back.ids[0]) == 401
    assert lineage(s).shortcuts == {}


def test_composition_is_kept_where_a_direct_crossing_is_no_better(faithful: Versions) -> None:
    s = faithful
    alone, _, _ = three_kinds(s, s.world.gallery.take(slice(0, 200)), s.newest)
    upgrade = crossed(s, s.new, s.newest)
    (link,) = upgrade["report"]["learned"]["chain"]
    assert (link["kept"], link["pairs"]) == ("composed", 200), link
    assert link["direct"] is not None
    line = lineage(s)
    assert line.shortcuts == {}
    by_both = line.crossings[1].chosen.apply(line.crossings[0].chosen.apply(alone.old))
    np.testing.assert_allclose(stored(s, alone), by_both, atol=1e-5)
    assert not any("one after the other" in note for note in upgrade["report"]["galleries"][s.gallery]["notes"])


def test_composition_that_nothing_could_be_measured_against_says_so(faithful: Versions) -> None:
    s = faithful
    _, both, later = three_kinds(s, s.world.gallery.take(slice(0, 200)))
    s.put_pairs(both.take(slice(0, 30)), s.newest)
    s.put_pairs(later, s.newest)
    upgrade = crossed(s, s.new, s.newest, "evaluated", dry_run=True)
    (link,) = upgrade["report"]["learned"]["chain"]
    assert (link["kept"], link["pairs"], link["direct"], link["composed"]) == ("composed", 30, None, None)
    assert "not measured" in link["why"]
    artifacts = UpgradeArtifacts(s.crosswalk.settings.artifacts_dir, upgrade["id"])
    assert not artifacts.shortcut(s.old).chosen.exists()
