"""How commands speak: which exceptions are for people, what a result looks like, how a signal is heard."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from federation.strict_yaml import ConfigError
from federation.terminal import emit, explain, stop_on_signals
from server.watch import StudyStopped


def test_this_projects_own_exceptions_are_told_to_people_as_they_are() -> None:
    assert explain(ConfigError("the file is wrong")) == "the file is wrong"
    assert explain(StudyStopped("two of three came")) == "two of three came"


@pytest.mark.parametrize("defect", [KeyError("x"), ValueError("x"), AssertionError(), OSError("x")])
def test_a_defect_is_not_explained_away(defect: Exception) -> None:
    assert explain(defect) is None


def test_a_missing_file_that_no_code_expected_is_a_defect() -> None:
    assert explain(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


def test_a_place_that_cannot_be_written_is_named_with_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "folder").mkdir()
    sentence = explain(caught.value)
    assert sentence is not None
    assert sentence.startswith(f"{tmp_path}/file/folder cannot be used (Not a directory)")


def test_a_full_disk_is_explained_without_a_file() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (explain(full) or "").startswith("the disk cannot be used (No space left on device)")


def test_a_result_is_text_for_people_and_one_line_of_json_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = {"path": Path("/a"), "count": 2}
    emit(facts, "two\nlines", as_json=False)
    assert capsys.readouterr().out == "two\nlines\n"
    emit(facts, "two\nlines", as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"path": "/a", "count": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_a_running_command_to_stop_and_does_not_kill_it(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before
