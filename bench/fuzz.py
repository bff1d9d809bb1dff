"""What thousands of damaged files do to the processes that read them.

`python bench/fuzz.py 5000` reads that many; `python bench/fuzz.py 1 4711` reads number 4711 again, here, with
whatever it raises. It exits with 1 if a worker died or had to be killed.
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from client.dicom.outcome import Outcome
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from client.guard.pool import read_all
from client.guard.process import Limits
from client.guard.server import SERVER
from simulation.damage.damaged import damaged
from simulation.damage.originals import originals

DEFAULT_CASES = 5000
IMAGE_SIZE = 64
POLICY = ReadPolicy()
LIMITS = Limits(max_seconds=30.0, max_bytes=2**30)
FATAL = {Reason.READER_DIED, Reason.TOO_SLOW}
NUM_TIMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one damaged file."""

    seed: int
    outcome: Outcome
    seconds: float
    """From when a worker was given it, so with the file that the worker was still reading then."""

    @property
    def word(self) -> str:
        """The reason, or what it was read as."""
        if isinstance(self.outcome, Rejection):
            return self.outcome.reason.value
        return type(self.outcome).__name__.lower()


def read_in_workers(material: list[bytes], seeds: range, folder: Path) -> Iterator[Result]:
    """Make each file when a worker has room for it, and remove it once it is read."""
    given: dict[int, float] = {}

    def jobs() -> Iterator[tuple[int, Path]]:
        for seed in seeds:
            path = folder / str(seed)
            path.write_bytes(damaged(material, seed))
            given[seed] = time.perf_counter()
            yield seed, path

    outcomes = read_all(jobs(), image_size=IMAGE_SIZE, policy=POLICY, limits=LIMITS)
    for seed, outcome in outcomes:
        (folder / str(seed)).unlink()
        yield Result(seed=seed, outcome=outcome, seconds=time.perf_counter() - given.pop(seed))


def seconds_alone(material: list[bytes], seed: int, folder: Path) -> float:
    """Time to read one file in this process, which must be known to survive it."""
    path = folder / "alone"
    path.write_bytes(damaged(material, seed))
    start = time.perf_counter()
    read_file(path, image_size=IMAGE_SIZE, policy=POLICY)
    return time.perf_counter() - start


def main(num_cases: int) -> int:
    """Read so many damaged files and tell what came of it; 1 if any was fatal."""
    material, start = originals(), time.perf_counter()
    with TemporaryDirectory() as name:
        folder = Path(name)
        results = list(read_in_workers(material, range(num_cases), folder))
        duration = time.perf_counter() - start
        SERVER.close()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        fatal = [result for result in results if result.word in FATAL]
        survived = sorted((r for r in results if r not in fatal), key=lambda r: r.seconds)
        slowest, seed = max(
            (seconds_alone(material, result.seed, folder), result.seed)
            for result in survived[-NUM_TIMED:]
        )
    words = Counter(result.word for result in results)
    counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
    print(
        f"{num_cases} damaged files from {len(material)} whole ones in {duration:.0f} s: {counts}"
    )
    print(f"slowest: number {seed}, {slowest:.2f} s; most memory of a worker: {peak:.0f} MiB")
    print(f"killed workers or had to be given up: {len(fatal)}")
    for result in fatal:
        print(f"  number {result.seed}: {result.word}")
    return 1 if fatal else 0


if __name__ == "__main__":
    match [int(word) for word in sys.argv[1:]]:
        case [_, only]:
            with TemporaryDirectory() as scratch:
                seconds_alone(originals(), only, Path(scratch))
        case [cases]:
            sys.exit(main(cases))
        case _:
            sys.exit(main(DEFAULT_CASES))
