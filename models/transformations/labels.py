"""What labels add to learning a transformation: rows of one label are to be found by each other's queries.

A row's new vector is one sample of what queries for it look like. Where the pairs are labelled, the others of its label
are samples too: a linear method learns towards their mean (`towards_class_means`), a network by how its outputs rank
under the new vectors of their class (`supervised_contrastive`). Both favour the classes that have pairs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from models.arrays import Codes
from models.portable import Space, as_indexed
from models.transformations.pairs import Pairs

SHARE = 0.5
"""Of the class mean in what a linear method learns towards."""
WEIGHT, TEMPERATURE = 0.1, 0.05


def codes_of(pairs: Pairs) -> Codes:
    """Labels as integers from 0, −1 for none: (n,)."""
    names: dict[object, int] = {}
    labels = [None] * len(pairs) if pairs.label is None else pairs.label.tolist()
    return np.array([-1 if label is None else names.setdefault(label, len(names)) for label in labels], np.int64)


def tell_rows_together(pairs: Pairs) -> bool:
    """Whether some label is that of two rows, without which labels teach nothing."""
    known = codes_of(pairs)
    return bool((np.bincount(known[known >= 0], minlength=1) > 1).any())


def towards_class_means(pairs: Pairs, target: Space, share: float) -> Pairs:
    """The same rows, each new vector moved by `share` (0 to 1) of the way to the mean of its label's new vectors.

    Vectors and means are as an index of the target holds them. Rows without a label stay as they are.
    """
    codes, new = codes_of(pairs), as_indexed(np.asarray(pairs.new, np.float32), target.metric)
    known = codes >= 0
    means = np.zeros((int(codes.max(initial=-1)) + 1, new.shape[1]))
    np.add.at(means, codes[known], new[known])
    means /= np.maximum(np.bincount(codes[known], minlength=len(means)), 1)[:, None]
    moved = new.copy()
    moved[known] += np.float32(share) * (means[codes[known]] - new[known]).astype(np.float32)
    return replace(pairs, new=moved)


def supervised_contrastive(outputs: Tensor, targets: Tensor, codes: Tensor) -> Tensor:
    """Khosla et al. (arXiv 2004.11362, eq. 2) across the crossing: queries are the new vectors, the gallery is h(old).

    outputs, targets: (b, d), of unit variance a coordinate on the average; codes: (b,), −1 for rows of no label. The
    own entry is left out, as it is in search. Similarity is the negative mean squared difference, over `TEMPERATURE`; a
    row that nothing else in the batch shares a label with counts 0.
    """
    squared = torch.cdist(targets, outputs).square() / outputs.shape[1]
    own = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    nothing = torch.finfo(squared.dtype).min
    log_share = nn.functional.log_softmax((-squared / TEMPERATURE).masked_fill(own, nothing), dim=1)
    same = (codes[:, None] == codes[None, :]) & (codes[:, None] >= 0) & ~own
    each = log_share.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)
    return -each.mean()
