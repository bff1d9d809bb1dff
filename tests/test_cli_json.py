"""Every command there is gives a program one JSON document, and for a mistake one sentence and exit code 2."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import typer

import cli
from federation.config import study_json
from simulation.federate import write_profile
from simulation.layout import Layout
from tests.conftest import IMAGE_SIZE, write_cache
from tests.faults.federation_under_test import study_of

Command = Callable[..., tuple[int, str, str]]
SITE = "site-01"
SERVE = frozenset({"coordinator up", "coordinator console"})
"""They end when they are stopped, and say one JSON document an event."""
NEED_NOTHING = frozenset({"coordinator doctor", "coordinator init"})
"""There is no mistake in typing these without anything being there."""
OPERATED = ("coordinator", "hospital", "doctor", "config", "privacy", "population")
"""Groups for whoever keeps a federation running; those that compute load torch, and have tests of their own."""
ANSWERS = (
    *("coordinator status", "coordinator invite 'St Mary'", "coordinator roster"),
    *("coordinator plan study.yaml --data-use tests --ends 2999-01-01", "coordinator models"),
    *("coordinator doctor", "coordinator metrics", "coordinator stop ways"),
    *("coordinator backup coordinator.tar", "coordinator restore coordinator.tar --state other"),
    *("coordinator init --host localhost --state third", "coordinator next-authority"),
    *("hospital status", "hospital health", "hospital plans", "hospital ledger"),
    *("hospital ledger --verify", "hospital metrics", "hospital inspect", "hospital audit log"),
    *("hospital audit receipts", "hospital audit verify", "hospital pause --name 'Dr Ann'"),
    *("hospital resume --name 'Dr Ann'", "hospital backup hospital.tar"),
    *("hospital withdraw --name 'Dr Ann'", "hospital rejoin --name 'Dr Ann'", "config show"),
    "config show study.yaml --origin",
    "phantom phantoms --sites 1 --records 2 --image-size 32",
)
"""Commands that only read and write files, in an order in which each has what it needs."""


def leaves(group: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield " ".join(words), group
        return
    for word, command in group.commands.items():
        yield from leaves(command, *words, word)


COMMANDS = dict(leaves(typer.main.get_command(cli.app)))


@pytest.fixture
def nowhere(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(memory_path)
    for name in ("FEDCXR_SITE", "FEDCXR_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def somewhere(
    nowhere: None, memory_path: Path, monkeypatch: pytest.MonkeyPatch, fedcxr: Command
) -> None:
    """A folder with a coordinator's state, a hospital's profile and records, and a study."""
    assert nowhere is None
    layout = Layout(memory_path)
    monkeypatch.setenv("FEDCXR_STATE", str(layout.coordinator))
    monkeypatch.setenv("FEDCXR_SITE", str(layout.profile(SITE)))
    assert fedcxr("coordinator", "init", "--host", "localhost")[0] == 0
    ca_path = layout.coordinator / "tls" / "ca.crt"
    write_profile(layout, SITE, image_size=IMAGE_SIZE, port=8443, ca_path=ca_path)
    write_cache(layout.cache(SITE), num_records=12, seed=1)
    study = study_of("ways", num_sites=1, min_sites=1, num_rounds=1)
    Path("study.yaml").write_text(study_json(study))


def test_every_command_can_speak_json() -> None:
    assert len(COMMANDS) > 60
    silent = [name for name, each in COMMANDS.items() if "--json" not in options(each)]
    assert silent == []


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.usefixtures("somewhere")
def test_what_a_command_answers_is_one_json_document_and_nothing_else(fedcxr: Command) -> None:
    for typed in ANSWERS:
        code, out, err = fedcxr(*shlex.split(typed), "--json")
        assert (code in {0, 1}, err) == (True, ""), typed
        (line,) = out.splitlines()
        assert isinstance(json.loads(line), dict), typed


@pytest.mark.slow
@pytest.mark.usefixtures("nowhere")
def test_every_command_that_lacks_what_it_needs_says_so_in_a_sentence(
    refused: Callable[..., str], memory_path: Path
) -> None:
    for name in sorted(COMMANDS.keys() - SERVE - NEED_NOTHING):
        if name.partition(" ")[0] not in OPERATED or name == "hospital audit check":
            continue
        message = refused(*name.split(), *missing(COMMANDS[name]), "--json")
        assert len(message.splitlines()) == 1, name
        assert list(memory_path.iterdir()) == [], name


def missing(command: click.Command) -> Iterator[str]:
    """What has to be typed, each naming nothing that is there."""
    for parameter in command.params:
        if parameter.required:
            value = "1" if parameter.type.name.startswith(("integer", "float")) else "absent"
            yield from (
                (value,) if parameter.param_type_name == "argument" else (parameter.opts[0], value)
            )


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize("side", ["coordinator", "hospital"])
def test_a_backup_that_is_not_there_is_a_mistake(refused: Callable[..., str], side: str) -> None:
    elsewhere = ("--state", "new") if side == "coordinator" else ()
    message = refused(side, "restore", "absent.tar", *elsewhere, "--json")
    assert message.startswith("absent.tar is no file: nothing was put in place.")


@pytest.mark.usefixtures("nowhere")
def test_a_coordinator_that_is_not_there_shuts_nobody_out(refused: Callable[..., str]) -> None:
    assert "no coordinator runs" in refused("coordinator", "revoke", "st-mary")
    assert not Path("fedcxr-state").exists()


def test_one_thing_has_one_name_everywhere() -> None:
    assert verbs("hospital") & verbs("coordinator") >= {
        *("up", "status", "doctor", "console", "metrics", "backup", "restore"),
    }
    out = {name for name, each in COMMANDS.items() if "--out" in options(each)}
    assert out == {name for name, each in COMMANDS.items() if "-o" in options(each)}
    assert [name for name, each in COMMANDS.items() if "--host" in options(each)] == [
        "coordinator init"
    ]


def verbs(side: str) -> set[str]:
    return {name.split()[1] for name in COMMANDS if name.startswith(f"{side} ")}
