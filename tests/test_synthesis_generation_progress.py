"""Drawing shows how far it is on a terminal, and nothing anywhere else."""

import sys

import pytest

from synthesis.generation.progress import drawing_bar


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with drawing_bar() as on_progress:
        on_progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_one_that_leaves_standard_output_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with drawing_bar() as on_progress:
        on_progress(41, 97)
    said = capsys.readouterr()
    assert said.out == ""
    assert "41/97" in said.err
