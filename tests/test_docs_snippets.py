"""What the documents tell a reader to write or to type is what the program takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from cli import app
from client.config import load_site
from federation.config import load_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SMOKE = (ROOT / "configs" / "smoke.yaml").read_text()
PROFILE = (ROOT / "configs" / "hospital.example.yaml").read_text()
NOT_OPTIONS = re.compile(r"#.*|'[^']*'|\[.*?\]")
"""What stands in a command's line without being typed: a remark, something quoted, or what may be left out."""


def blocks(path: Path) -> list[str]:
    """Every fenced block of YAML in a document."""
    return re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(path: Path) -> Iterator[str]:
    """Every `fedcxr ...` that stands in backticks or in a line of its own."""
    for line in path.read_text().splitlines():
        if line.startswith("    fedcxr "):
            yield NOT_OPTIONS.sub("", line).strip()
        elif not line.startswith("    "):
            yield from re.findall(r"`(fedcxr [a-z][^`]*)`", line)


def loaded(folder: Path, block: str) -> object:
    """What the program makes of a block: a study, stages of one, or part of a hospital's profile."""
    content = yaml.safe_load(block)
    path = folder / "some.yaml"
    if isinstance(content, list):
        study = yaml.safe_load(SMOKE)
        first = study["stages"][:1] if content[0]["kind"] == "lora" else []
        wide = {"size": "small", "image_size": 256}
        path.write_text(yaml.safe_dump(study | {"model": wide, "stages": [*first, *content]}))
        return load_study(path)
    if "stages" in content:
        path.write_text(block)
        return load_study(path)
    path.write_text(yaml.safe_dump(yaml.safe_load(PROFILE) | content))
    return load_site(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_of_yaml_in_a_document_is_valid(tmp_path: Path, path: Path) -> None:
    for block in blocks(path):
        loaded(tmp_path, block)


def test_the_rounds_document_shows_studies_stages_and_a_profile() -> None:
    shown = [yaml.safe_load(block) for block in blocks(ROOT / "docs" / "rounds.md")]
    assert sum(isinstance(content, list) for content in shown) >= 3
    assert any("stages" in content for content in shown)
    assert any("blob_hosts" in content for content in shown)


def command_of(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line names, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    words = line.split()[1:]
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        assert name in command.commands, f"`{line}` names no command"
        command = command.commands[name]
    return command, words


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_exists_with_its_options(path: Path) -> None:
    for line in commands(path):
        command, words = command_of(line)
        known = {option for parameter in command.params for option in parameter.opts}
        typed = {word.split("=")[0].rstrip(",.)") for word in words if re.match(r"--?[a-z]", word)}
        assert typed <= known, f"`{line}` has no {typed - known}"
