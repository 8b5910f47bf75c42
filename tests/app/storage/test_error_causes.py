from app.problems import ObjectStoreAway
from app.storage.error_causes import causes_of
from app.storage.object_store import store_problem


def in_a_ring() -> list[Exception]:
    first, second = ValueError("first"), RuntimeError("second")
    first.__context__, second.__context__ = second, first
    return [first, second]


def test_errors_that_led_to_one_another_are_each_told_once() -> None:
    ring = in_a_ring()
    assert list(causes_of(ring[0])) == ring
    assert store_problem(ring[0]) is None


def test_what_the_object_store_caused_is_found_behind_them() -> None:
    ring = in_a_ring()
    ring[1].__cause__ = away = ObjectStoreAway("away", url="s3://there")
    assert store_problem(ring[0]) is away
