"""What holds for the tree as a whole; who imports whom is checked by import-linter."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("cli", "simulation", "synthesis", "server", "client"),
    *("federation", "model", "privacy", "configs"),
)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_claims_a_name_of_ours(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"fedcxr"}


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after one statement."""
    script = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module", ["federation.config", "federation.schedule", "server.store", "server.status"]
)
def test_reading_files_and_showing_progress_does_not_wait_for_torch(module: str) -> None:
    assert imported_by(f"import {module}") & {"torch", "flwr", "peft", "pydicom"} == set()


@pytest.mark.parametrize(
    "module", ["client.operations.service", "client.node_launcher", "server.superlink"]
)
def test_programs_that_run_for_weeks_beside_training_do_without_torch(module: str) -> None:
    assert imported_by(f"import {module}") & {"torch", "opacus"} == set()


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "cli"])
def test_a_packages_init_holds_one_line_that_says_what_it_is(package: str) -> None:
    (line,) = (ROOT / package / "__init__.py").read_text().splitlines()
    assert line.startswith('"""')


def test_no_folder_of_tests_shadows_a_package() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders.isdisjoint(PACKAGES)
    assert not (ROOT / "tests" / "__init__.py").exists()
