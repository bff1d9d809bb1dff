"""The measurement of an ingest runs from its first line to its last; its figures are for the person who reads them."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "ingest.py"


@pytest.mark.slow
def test_the_bench_measures_speed_memory_and_loader() -> None:
    choices = ("--files", "2", "--repeats", "1", "--shrink", "16", "--image-size", "64")
    done = subprocess.run(
        [sys.executable, BENCH, *choices], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    bars, start, *speeds, memory, plain, encrypted = done.stdout.splitlines()
    assert bars.startswith("bars: ")
    assert start.endswith(" s")
    assert len(speeds) == 7
    assert all("times the plain loop's (" in line for line in speeds)
    assert memory.startswith("memory of two workers on 187 x 187")
    assert plain.startswith("plain cache, 64 px")
    assert encrypted.startswith("encrypted cache, 64 px")
    assert all(
        line.endswith(("(met)", "(NOT MET)")) for line in (*speeds, memory, plain, encrypted)
    )
