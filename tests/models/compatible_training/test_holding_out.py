import numpy as np

from models.compatible_training import hold_out


def test_a_share_of_every_class_is_kept_back() -> None:
    codes = np.repeat(np.arange(4), [40, 20, 3, 2])
    split = hold_out(codes, 4, 0.1, seed=0, whole_classes=False)
    assert np.bincount(codes[split.held_out], minlength=4).tolist() == [4, 2, 1, 0]
    assert np.array_equal(np.sort(np.concatenate([split.training, split.held_out])), np.arange(65))
    assert not split.unseen.any()


def test_whole_classes_are_kept_back_where_asked_and_two_are_left() -> None:
    codes = np.repeat(np.arange(30), 10)
    split = hold_out(codes, 30, 0.1, seed=0, whole_classes=True)
    assert split.unseen.sum() == 3
    assert not split.unseen[codes[split.training]].any()
    assert split.unseen[codes[split.held_out]].sum() == 30
    assert hold_out(np.arange(3), 3, 0.5, seed=0, whole_classes=True).unseen.sum() == 1
