"""Learning a transformation from labels too: rows of one label are to be found by each other's queries.

A row's new vector is one sample of the queries for it. With labels, the new vectors of its class are samples too: a
linear method learns towards their mean (`towards_class_means`), a network with a loss that ranks its outputs for the
new vectors of their class (`supervised_contrastive`). Both favour the classes that have pairs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from models.arrays import Codes
from models.portable import Space, as_indexed
from models.transformations.pairs import Pairs

SHARE = 0.5
"""How far the targets of a linear method are moved to their class means, from 0 to 1."""
WEIGHT = 0.1
"""Of `supervised_contrastive` beside a network's MSE."""
CONTRASTIVE_TEMPERATURE = 0.05


def codes_of(pairs: Pairs) -> Codes:
    """The pairs' labels as codes from 0, in the order of first appearance; −1 for none: (n,) int64."""
    names: dict[object, int] = {}
    labels = [None] * len(pairs) if pairs.label is None else pairs.label.tolist()
    return np.array([-1 if label is None else names.setdefault(label, len(names)) for label in labels], np.int64)


def has_repeated_label(pairs: Pairs) -> bool:
    """Whether two rows have the same label; otherwise there is nothing to learn from labels."""
    known = codes_of(pairs)
    return bool((np.bincount(known[known >= 0], minlength=1) > 1).any())


def towards_class_means(pairs: Pairs, target: Space, share: float) -> Pairs:
    """The pairs with each new vector moved by the `share`, 0 to 1, of the way to the mean of its class's new vectors.

    Vectors and means are as an index of the target holds them. Rows without a label are not moved.
    """
    codes, new = codes_of(pairs), as_indexed(np.asarray(pairs.new, np.float32), target.metric)
    known = codes >= 0
    classes = int(codes.max(initial=-1)) + 1
    members = csr_array((np.ones(int(known.sum())), (codes[known], np.flatnonzero(known))), (classes, len(new)))
    means = (members @ new.astype(np.float64)) / np.maximum(np.bincount(codes[known], minlength=classes), 1)[:, None]
    targets = new.copy()
    targets[known] += np.float32(share) * (means[codes[known]] - new[known]).astype(np.float32)
    return replace(pairs, new=targets)


def supervised_contrastive(outputs: Tensor, targets: Tensor, codes: Tensor) -> Tensor:
    """The supervised contrastive loss of Khosla et al. (arXiv 2004.11362, eq. 2) between new vectors and h(old).

    outputs: (b, d), h(old), the gallery; targets: (b, d), the new vectors, its queries; both of unit variance per
    coordinate on average. codes: (b,), −1 for a row without a label. A query's own row is excluded, as in a search.
    Similarity is the negative mean squared difference over the temperature. A row whose label no other row of the batch
    has counts 0. Returns a scalar.
    """
    squared = torch.cdist(targets, outputs).square() / outputs.shape[1]
    own = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    nothing = torch.finfo(squared.dtype).min
    log_share = nn.functional.log_softmax((-squared / CONTRASTIVE_TEMPERATURE).masked_fill(own, nothing), dim=1)
    same = (codes[:, None] == codes[None, :]) & (codes[:, None] >= 0) & ~own
    each = log_share.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)
    return -each.mean()
