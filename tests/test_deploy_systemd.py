"""The services as systemd reads them: hardened to a stated degree, in step with the commands and the guides."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import typer.main

import cli

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy" / "systemd"
EXPOSURE = {"fedcxr-coordinator": 1.1, "fedcxr-hospital": 1.2}
"""Of 10, by `systemd-analyze security` of release 252; docs/security.md states the same."""
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(name: str) -> dict[str, list[str]]:
    """Every setting of a unit with all its values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("name", EXPOSURE)
def test_a_service_is_exposed_no_more_than_the_documents_say(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, str(UNITS / f"{name}.service")], capture_output=True, text=True, check=False
    )
    stated = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert stated
    assert float(stated[1]) <= EXPOSURE[name]
    assert f"`{name}` {EXPOSURE[name]}" in (ROOT / "docs" / "security.md").read_text()


@needs_systemd
@pytest.mark.parametrize("name", EXPOSURE)
def test_systemd_knows_every_setting(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(UNITS / f"{name}.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Unknown" not in done.stderr
    assert "Failed to parse" not in done.stderr
    assert "Invalid" not in done.stderr


@pytest.mark.parametrize("name", EXPOSURE)
def test_a_service_starts_a_command_that_fedcxr_has(name: str) -> None:
    (line,) = settings(name)["ExecStart"]
    program, *words = shlex.split(line)
    assert program == "/opt/fedcxr/bin/fedcxr"
    command: click.Command = typer.main.get_command(cli.app)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context("up", words)


@pytest.mark.parametrize("name", EXPOSURE)
def test_a_service_is_watched_and_ends_in_time(name: str) -> None:
    unit = settings(name)
    assert unit["Type"] == ["notify"]
    assert int(unit["WatchdogSec"][0]) >= 30
    assert unit["Restart"] == ["on-failure"]
    assert unit["UMask"] == ["0077"]
    assert unit["User"] == ["fedcxr"]
    if name == "fedcxr-hospital":
        assert int(unit["TimeoutStopSec"][0]) <= 10


def test_variables_in_the_environment_files_are_ones_that_the_program_reads() -> None:
    sides = (ROOT / "client", ROOT / "server", ROOT / "federation")
    modules = (path for side in sides for path in side.rglob("*.py") if path.name != "layers.py")
    source = "".join(path.read_text() for path in modules)
    for name in ("coordinator.env", "hospital.env"):
        for variable in re.findall(r"^#?(FEDCXR_\w+)=", (UNITS / name).read_text(), re.MULTILINE):
            assert f'"{variable}"' in source
