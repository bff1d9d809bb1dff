"""The command `fedcxr`: quick to start, one sentence for a mistake, one JSON object for a program."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import cli
import model.table

Command = Callable[..., tuple[int, str, str]]
PARAMETERS_OF_THE_LARGEST = 1_336_646_656
SHOW_HELP = """
import sys
import cli
sys.argv = ["fedcxr", "--help"]
try:
    cli.main()
except SystemExit as end:
    heavy = {"torch", "flwr", "ray", "pydicom", "matplotlib", "peft"} & set(sys.modules)
    sys.exit(f"{end.code} {sorted(heavy)}")
"""


def test_help_imports_neither_torch_nor_flower() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.stderr.strip() == "0 []"
    for command in ("coordinator", "hospital", "simulate", "phantom", "generate", "model"):
        assert command in shown.stdout


def test_the_release_is_told(fedcxr: Command) -> None:
    from importlib.metadata import version

    code, told, complaint = fedcxr("--version")
    assert (code, told, complaint) == (0, f"fedcxr {version('fedcxr')}\n", "")


def test_the_real_program_ends_a_mistake_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    typed = subprocess.run(
        [sys.executable, "-m", "cli", "simulate", str(tmp_path / "absent.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (typed.returncode, typed.stdout) == (2, "")
    (line,) = typed.stderr.splitlines()
    assert line.startswith("error: ")
    assert "absent.yaml cannot be read (No such file or directory)" in line


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["generate"],
        ["generate", "m", "--age", "300"],
        ["generate", "m", "--n", "0"],
        ["coordinator", "up", "--port"],
        ["coordinator", "run"],
        ["hospital", "ingest", "a.yaml", "b.yaml"],
        ["config", "show", "a.yaml", "--origins"],
        ["phantom", "out", "--sites", "0"],
        ["model", "table", "--image-size", "16"],
        ["model", "table", "--image-size", "100"],
        ["simulate"],
        ["simulate", "x.yaml", "--engine"],
    ],
)
def test_a_command_typed_wrongly_is_a_mistake_in_one_line(
    fedcxr: Command, words: list[str]
) -> None:
    code, out, err = fedcxr(*words)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: ")


def test_an_interrupted_command_ends_with_130(
    fedcxr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_sizes: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(model.table, "size_table", interrupt)
    assert fedcxr("model", "table") == (130, "", "")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_sizes: object) -> NoReturn:
        raise KeyError("defect")

    monkeypatch.setattr(model.table, "size_table", fail)
    monkeypatch.setattr(sys, "argv", ["fedcxr", "model", "table"])
    with pytest.raises(KeyError, match="defect"):
        cli.main()


@pytest.mark.slow
def test_the_table_prints_all_five_sizes(fedcxr: Command) -> None:
    code, out, err = fedcxr("model", "table", "--image-size", "512")
    head, *rows = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split()[:3] == ["size", "pixels", "parameters"]
    assert [row.split()[0] for row in rows] == ["tiny", "small", "base", "large", "xl-1.3b"]
    assert f"{PARAMETERS_OF_THE_LARGEST:,}" in rows[-1]


@pytest.mark.slow
def test_the_table_as_json_is_one_line_with_exact_counts(fedcxr: Command) -> None:
    code, out, _ = fedcxr("model", "table", "--image-size", "512", "--json")
    (line,) = out.splitlines()
    rows = json.loads(line)["sizes"]
    assert code == 0
    assert [(row["size"], row["image_size"]) for row in rows[:2]] == [("tiny", 512), ("small", 512)]
    assert len(rows) == 5
    assert rows[-1]["num_parameters"] == PARAMETERS_OF_THE_LARGEST
