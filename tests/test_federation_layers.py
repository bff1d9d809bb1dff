"""Settings in layers: each value can be traced to the default, the file, the environment or the command line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.config import SiteConfig, load_site
from federation.config import StudyConfig, load_study, study_digest
from federation.layers import (
    TYPED,
    Origin,
    plain_keys,
    schema_of,
    settings_of,
    unknown_variables,
)
from federation.strict_yaml import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"
PROFILE = """site_name: st-mary
coordinator: fed.example:8443
ca_path: ca.crt
data_path: data
state_path: state
image_size: 64
training:
  recompute: true
num_threads: 2
"""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital's profile, and nothing over it."""
    for name in [name for name in os.environ if name.startswith("FEDCXR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(TYPED, "")  # put back at the end, whatever a command leaves
    path = tmp_path / "site.yaml"
    path.write_text(PROFILE)
    return path


def origins(path: Path) -> dict[str, tuple[Origin, str, object]]:
    found = settings_of(path, SiteConfig)
    return {each.key: (each.origin, each.place, each.value) for each in found}


def test_what_was_typed_counts_before_the_environment_before_the_file_before_the_default(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert origins(profile)["num_threads"] == (Origin.FILE, "site.yaml:9", 2)
    assert load_site(profile).num_threads == 2
    monkeypatch.setenv("FEDCXR_NUM_THREADS", "3")
    assert origins(profile)["num_threads"] == (Origin.ENVIRONMENT, "FEDCXR_NUM_THREADS", 3)
    assert load_site(profile).num_threads == 3
    monkeypatch.setenv(TYPED, "num_threads=4")
    assert origins(profile)["num_threads"] == (Origin.FLAG, "--set num_threads", 4)
    assert load_site(profile).num_threads == 4


def test_every_value_has_an_origin_also_deep_inside(profile: Path) -> None:
    found = origins(profile)
    assert found["training.recompute"] == (Origin.FILE, "site.yaml:8", True)
    assert found["training.compile"] == (Origin.DEFAULT, "", False)
    assert found["share_counts"][0] is Origin.DEFAULT
    assert not [key for key, (origin, _, _) in found.items() if origin is Origin.FILE and key == ""]


def test_an_empty_variable_says_nothing_and_paths_are_relative_to_the_file(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDCXR_NUM_THREADS", "")
    monkeypatch.setenv("FEDCXR_DATA_PATH", "other")
    site = load_site(profile)
    assert (site.num_threads, site.data_path) == (2, profile.parent / "other")


def test_a_wrong_value_is_a_mistake_that_names_where_it_came_from(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDCXR_NUM_THREADS", "many")
    with pytest.raises(ConfigError, match=r"site.yaml with FEDCXR_NUM_THREADS cannot be used"):
        load_site(profile)


def test_another_seed_from_outside_makes_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_study(CONFIGS / "smoke.yaml")
    monkeypatch.setenv("FEDCXR_SEED", "77")
    after = load_study(CONFIGS / "smoke.yaml")
    assert after.seed == 77
    assert study_digest(after) != study_digest(before)


def test_only_plain_values_at_the_top_can_be_set_from_outside() -> None:
    keys = plain_keys(SiteConfig)
    assert {"site_name", "coordinator", "data_path", "num_threads", "share_counts"} <= set(keys)
    assert {"findings", "training", "blob_hosts", "dicomweb"}.isdisjoint(keys)
    assert plain_keys(StudyConfig) == ["name", "seed"]


def test_a_profile_and_a_study_are_told_apart_by_their_keys(profile: Path) -> None:
    both = (SiteConfig, StudyConfig)
    assert schema_of(profile, both) is SiteConfig
    assert schema_of(CONFIGS / "reference.yaml", both) is StudyConfig
    profile.write_text("max_epsilon: 8.0\n")
    with pytest.raises(ConfigError, match="neither a hospital's profile nor a study"):
        schema_of(profile, both)


def test_a_variable_with_a_typing_mistake_is_found() -> None:
    environ = {"FEDCXR_NUM_THREADS": "1", "FEDCXR_NUM_THREAD": "1", "FEDCXR_SITE": "x", "PATH": ""}
    assert unknown_variables(environ, (SiteConfig, StudyConfig)) == ["FEDCXR_NUM_THREAD"]


def test_every_variable_that_the_program_reads_is_one_that_it_knows() -> None:
    root, named = CONFIGS.parent, set[str]()
    for package in ("client", "server", "federation", "simulation", "synthesis"):
        for path in (root / package).rglob("*.py"):
            named |= set(re.findall(r'"(FEDCXR_[A-Z_]+[A-Z])"', path.read_text()))
    assert named
    assert unknown_variables(dict.fromkeys(named, ""), (SiteConfig, StudyConfig)) == []


def test_the_command_shows_each_value_and_its_origin(
    profile: Path, fedcxr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDCXR_IMAGE_SIZE", "128")
    code, out, _ = fedcxr("--set", "num_threads=5", "config", "show", profile, "--origin")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["flag", "--set", "num_threads", "num_threads:", "5"] in lines
    assert ["env", "FEDCXR_IMAGE_SIZE", "image_size:", "128"] in lines
    assert ["file", "site.yaml:1", "site_name:", "st-mary"] in lines
    assert ["default", "share_counts:", "false"] in lines


def test_the_command_shows_a_study_as_json_with_the_line_of_every_value(fedcxr: Command) -> None:
    code, out, _ = fedcxr("config", "show", CONFIGS / "smoke.yaml", "--json")
    found = {each["key"]: each for each in json.loads(out)["settings"]}
    assert code == 0
    assert found["stages.0.num_rounds"]["origin"] == "file"
    assert found["stages.0.num_rounds"]["place"].startswith("smoke.yaml:")
    assert (found["stages.0.local.beta1"]["origin"], found["seed"]["value"]) == ("default", 1)


def test_a_name_and_a_password_in_an_address_are_not_shown(profile: Path) -> None:
    profile.write_text(f"{PROFILE}label_mapping: http://me:secret@proxy:3128\n")
    shown = json.dumps([each.value for each in settings_of(profile, SiteConfig)])
    assert "secret" not in shown


@pytest.mark.parametrize("typed", ["num_threads", "num_thread=3", "findings=x", "num_threads="])
def test_setting_nothing_is_a_mistake(
    profile: Path, refused: Callable[..., str], typed: str
) -> None:
    message = refused("--set", typed, "config", "show", profile)
    assert "sets nothing" in message
    assert "num_threads" in message


def test_what_was_typed_reaches_the_processes_of_the_command(
    profile: Path, fedcxr: Command
) -> None:
    fedcxr("--set", "num_threads=6", "config", "show", profile)
    asked = f"from client.config import load_site; from pathlib import Path; print(load_site(Path({str(profile)!r})).num_threads)"
    shown = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "6"
