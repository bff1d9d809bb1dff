"""The shell completes commands once `fedcxr --install-completion` was typed, and exit codes stand in one table."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.exit_codes import MEANINGS, ExitCode
from server.watch import StillRunning, StudyStopped

PROGRAM = Path(sys.executable).parent / "fedcxr"


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], str]:
    """Has a shell of a person with an empty home folder run a line."""
    if shutil.which("bash") is None or not PROGRAM.exists():
        pytest.skip("this machine has no bash, or the program is not installed")
    home = tmp_path / "home"
    home.mkdir()
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> str:
        environment = {"HOME": str(home), "PATH": path, "TERM": "dumb"}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", line],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


COMPLETE = """source ~/.bashrc
COMP_WORDS=({words}); COMP_CWORD={place}
$(complete -p fedcxr | sed 's/.*-F \\([^ ]*\\).*/\\1/') fedcxr
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.slow
def test_a_shell_completes_commands_after_the_completion_was_installed(
    typed: Callable[[str], str],
) -> None:
    typed("fedcxr --install-completion bash || fedcxr --install-completion; true")
    commands = typed(COMPLETE.format(words="fedcxr hosp", place=1)).split()
    assert commands == ["hospital"]
    verbs = typed(COMPLETE.format(words="fedcxr coordinator do", place=2)).split()
    assert verbs == ["doctor"]


def test_every_exit_code_has_a_meaning_and_the_help_shows_them_all(
    fedcxr: Callable[..., tuple[int, str, str]],
) -> None:
    assert set(MEANINGS) == set(ExitCode)
    _, out, _ = fedcxr("--help")
    assert all(f"{code:d}  " in out for code in ExitCode)


def test_exceptions_that_choose_their_exit_code_choose_one_of_the_table() -> None:
    assert StudyStopped.exit_code is ExitCode.WAITS_FOR_A_PERSON
    assert StillRunning.exit_code is ExitCode.NOT_READY
