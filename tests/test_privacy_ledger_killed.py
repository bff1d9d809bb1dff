"""A hospital that dies at any instant of a private round has charged all that it began, and sent no more than it charged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
KILLER = ROOT / "tests" / "faults" / "killed_ledger.py"
NUM_KILLS = int(os.environ.get("FEDCXR_LEDGER_KILLS", "60"))
"""At random moments; those at every instant come on top."""


def test_dying_at_any_instant_never_lowers_epsilon_and_never_charges_an_update_twice(
    memory_path: Path,
) -> None:
    run = subprocess.run(
        [sys.executable, KILLER, memory_path, str(NUM_KILLS), "7"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    deaths = dict(line.split(": ") for line in run.stdout.splitlines())
    assert set(deaths) == {"killed", "power cut", "killed at random"}
    assert min(int(deaths["killed"]), int(deaths["power cut"])) >= 100
    assert int(deaths["killed at random"]) == NUM_KILLS
