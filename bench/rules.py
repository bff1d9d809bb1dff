"""What each rule of combination bears, and what it costs, on drawn changes.

    python bench/rules.py

Ten hospitals' changes share a part of length 1, and each has a part of its own in another direction. The error is the
distance of the combined change from the mean of the honest ones, over the length of that mean. Faulty hospitals send the
shared part turned round, as long as the gate lets pass or as long as everybody's. Kept is how much of what only two of
ten hospitals teach, honestly, is left in the combined change; the mean keeps all of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from federation.stages import Combination
from model.tensors import InMemory, Piece
from server.aggregation.combine import combined

NUM_SITES, NUM_FAULTY, NUM_VALUES, NUM_REPEATS = 10, 2, 50_000, 5
GATE = 3.9
"""Length of a faulty change, in medians: the gate refuses what is longer than 4."""
RULES = {
    "mean": Combination(),
    "trimmed-mean": Combination(rule="trimmed-mean", num_faulty=NUM_FAULTY),
    "median": Combination(rule="median"),
    "multi-krum": Combination(rule="multi-krum", num_faulty=NUM_FAULTY),
    "rfa": Combination(rule="rfa"),
    "centred-clipping": Combination(rule="centred-clipping"),
}
Vector = NDArray[np.float64]


def direction(rng: np.random.Generator) -> Vector:
    """A vector of length 1; in so many dimensions two of them are nearly orthogonal."""
    drawn = rng.standard_normal(NUM_VALUES)
    return drawn / np.linalg.norm(drawn)


def combine(rule: Combination, changes: Sequence[Vector]) -> Vector:
    """The combined change of hospitals that count alike."""
    sites = [f"site-{number:02}" for number in range(len(changes))]
    held = {
        site: InMemory({"w": change.astype(np.float32)})
        for site, change in zip(sites, changes, strict=True)
    }
    every = Piece(name="w", start=0, stop=NUM_VALUES)
    return combined(rule, held, dict.fromkeys(sites, 1.0))(every)


def error(
    rule: Combination, rng: np.random.Generator, *, apart: float, faulty: float = 0.0
) -> float:
    """Of one drawn round; `apart` is the length of each hospital's own part, `faulty` that of a faulty change."""
    shared = direction(rng)
    num_honest = NUM_SITES - (NUM_FAULTY if faulty else 0)
    honest = [shared + apart * direction(rng) for _ in range(num_honest)]
    length = float(np.median([np.linalg.norm(change) for change in honest]))
    spoilt = [-faulty * length * shared for _ in range(NUM_SITES - num_honest)]
    target = np.mean(honest, axis=0)
    off = combine(rule, [*honest, *spoilt]) - target
    return float(np.linalg.norm(off) / np.linalg.norm(target))


def kept(rule: Combination, rng: np.random.Generator) -> float:
    """Of the direction that two hospitals have in common beside what they share with the others."""
    shared, other = direction(rng), direction(rng)
    most = [shared + 0.5 * direction(rng) for _ in range(NUM_SITES - 2)]
    few = [shared + other + 0.5 * direction(rng) for _ in range(2)]
    return float(combine(rule, [*most, *few]) @ other) / (2 / NUM_SITES)


def main() -> None:
    """Print one line per rule."""
    columns: dict[str, Callable[[Combination, np.random.Generator], float]] = {
        "alike": lambda rule, rng: error(rule, rng, apart=0.5),
        "apart": lambda rule, rng: error(rule, rng, apart=2.0),
        "kept": kept,
        "2 turned": lambda rule, rng: error(rule, rng, apart=0.5, faulty=1.0),
        "2 turned, long": lambda rule, rng: error(rule, rng, apart=0.5, faulty=GATE),
    }
    print(f"{'rule':18}" + "".join(f"{name:>16}" for name in columns))
    for name, rule in RULES.items():
        values = [
            np.mean([measure(rule, np.random.default_rng(seed)) for seed in range(NUM_REPEATS)])
            for measure in columns.values()
        ]
        print(f"{name:18}" + "".join(f"{value:16.2f}" for value in values))


if __name__ == "__main__":
    main()
