"""How fast class means are refined, beside the formula as it is written, in the same run and on as many threads.

    python -m benchmarks.random_walk            # 1,000 classes × 500 rows × 256: about a minute
    python -m benchmarks.random_walk --literal 20

The baseline, class by class in float64: cosine similarities, softmax, `numpy.linalg.inv` of I − λA, the mean of X∞. It
takes so long that a share of the classes is measured, spread over the run of ours, and the rest extrapolated. In every
class a fifth of the rows are of another class; with --clusters a class is many groups, slow to cross.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from models.compatible_training.random_walk import DAMPING, TEMPERATURE, refine_classes
from models.portable import Array

PLANTED = 0.2  # share of a class's rows that are of another
SPREAD = 1.5  # of a row about its centre, in the spread of the centres
REPEATS = 5
GIB = 2**30


def data(classes: int, rows: int, dimension: int, clusters: int) -> Array:
    """Features (classes, rows, dimension) float32."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((classes, clusters, dimension), dtype=np.float32)
    features = random.standard_normal((classes, rows, dimension), dtype=np.float32)
    features *= SPREAD
    strangers = round(PLANTED * rows)
    for code in range(classes):
        of = np.full(rows, code)
        of[:strangers] = random.integers(classes, size=strangers)
        features[code] += centres[of, random.integers(clusters, size=rows)]
    return features


def literal(features: Array) -> Array:
    """The refined column (d,) of one class's features (m, d), as the formula is written."""
    rows = features.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar = unit @ unit.T / TEMPERATURE
    np.fill_diagonal(similar, -np.inf)
    walk = np.exp(similar - similar.max(axis=1, keepdims=True))
    walk /= walk.sum(axis=1, keepdims=True)
    refined = (1 - DAMPING) * np.linalg.inv(np.eye(len(rows)) - DAMPING * walk) @ rows
    mean = refined.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def seconds(features: Array) -> tuple[float, Array]:
    """What a refinement of all classes takes, and its columns."""
    classes, rows, dimension = features.shape
    codes = np.repeat(np.arange(classes), rows)
    began = time.perf_counter()
    refined = refine_classes(features.reshape(-1, dimension), codes, classes)
    return time.perf_counter() - began, refined.columns


def compare(features: Array, measured: int) -> None:
    """Prints one table."""
    ours: list[float] = []
    per_class: list[float] = []
    difference = 0.0
    for chosen in np.array_split(np.linspace(0, len(features) - 1, measured).astype(int), REPEATS):
        taken, columns = seconds(features)
        ours.append(taken)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for code in chosen:
            began = time.perf_counter()
            column = literal(features[code])
            per_class.append(time.perf_counter() - began)
            difference = max(difference, float(np.abs(column - columns[code]).max()))
    baseline = len(features) * statistics.median(per_class)
    print(f"{'ours, all classes, s':44} {statistics.median(ours):10.2f}   fastest {min(ours):.2f}")
    fastest = len(features) * min(per_class)
    print(f"{'dense float64 inverse per class, s':44} {baseline:10.2f}   fastest {fastest:.2f}, {measured} measured")
    print(f"{'times faster':44} {baseline / statistics.median(ours):10.1f}   of the fastest {fastest / min(ours):.1f}")
    print(f"{'largest difference of columns':44} {difference:10.1e}")
    print(f"{'peak memory of the process, features in it':44} {peak / GIB:10.2f}   GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--literal", type=int, default=100, help="classes that the baseline is measured on")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    features = data(arguments.classes, arguments.rows, arguments.dimension, arguments.clusters)
    torch.set_num_threads(arguments.threads)
    print("{:,} classes × {} rows × {}, float32, {} threads".format(*features.shape, arguments.threads))
    with threadpool_limits(arguments.threads):
        compare(features, min(arguments.literal, arguments.classes))


if __name__ == "__main__":
    main()
