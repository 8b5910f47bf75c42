import numpy as np
import pytest

from models.compatible_training import TrainingSettings
from models.training.plan import epoch_plan, steps_per_epoch
from models.training.schedule import learning_rate


def rates(settings: TrainingSettings, steps: int) -> list[float]:
    return [learning_rate(settings, step, steps) for step in range(settings.epochs * steps)]


def test_the_papers_schedule_divides_by_ten_every_thirty_of_ninety_epochs() -> None:
    learning_rates = rates(TrainingSettings(), 2)
    assert learning_rates[:60] == pytest.approx([0.1] * 60)
    assert learning_rates[60:120] == pytest.approx([0.01] * 60)
    assert learning_rates[120:] == pytest.approx([0.001] * 60)


def test_one_cycle_rises_to_the_rate_and_falls_to_next_to_nothing() -> None:
    learning_rates = rates(TrainingSettings(epochs=10, schedule="one_cycle"), 10)
    assert learning_rates[0] == pytest.approx(0.1 / 25)
    assert int(np.argmax(learning_rates)) == 30
    assert max(learning_rates) == pytest.approx(0.1)
    assert learning_rates[-1] < 0.001


def test_warming_up_starts_low() -> None:
    learning_rates = rates(TrainingSettings(epochs=4, schedule="cosine", warm_up_epochs=1), 4)
    assert learning_rates[0] == pytest.approx(0.025)
    assert learning_rates[3] == pytest.approx(max(learning_rates))


def test_an_epoch_visits_every_row_once_whoever_shares_it() -> None:
    plans = [epoch_plan(103, 16, seed=1, epoch=2, rank=rank, world=3) for rank in range(3)]
    assert {len(plan) for plan in plans} == {steps_per_epoch(103, 16)} == {7}
    assert sorted(np.concatenate([rows for plan in plans for rows in plan])) == list(range(103))
    assert not np.array_equal(plans[0][0], epoch_plan(103, 16, seed=1, epoch=3, rank=0, world=3)[0])
