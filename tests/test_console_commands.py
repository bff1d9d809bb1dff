"""The consoles as they are typed: a real process that says where it is, and ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli import app
from federation.console.password import read_password
from tests.browser.hospital import make_profile


@pytest.mark.slow
def test_a_console_says_where_it_is_lets_its_owner_in_and_ends_when_told(tmp_path: Path) -> None:
    profile, root = make_profile(tmp_path), Path(__file__).parent.parent
    command = [*(sys.executable, "-m", "cli", "hospital", "console", str(profile)), "--port", "0"]
    command.append("--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            password = json.loads(process.stdout.readline())["password"]
            with httpx.Client(headers={"origin": url.rstrip("/")}, trust_env=False) as browser:
                browser.get(url, follow_redirects=True)
                shown = browser.get(f"{url}login").text
                mark = shown.partition('name="mark" value="')[2].partition('"')[0]
                form = {"mark": mark, "password": password}
                page = browser.post(f"{url}login", data=form, follow_redirects=True).text
            assert "Sign out" in page
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def test_a_password_is_set_by_typing_it_twice_and_never_as_an_argument(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    typed = "correct horse battery\n" * 2
    command = ["coordinator", "console", "--state", str(state), "--set-password"]
    outcome = CliRunner().invoke(app, command, input=typed)
    assert outcome.exit_code == 0, outcome.output
    assert "horse" not in outcome.output
    kept = read_password(state / "console.password")
    assert kept is not None
    assert kept.fits("correct horse battery")
