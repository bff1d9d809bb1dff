"""A hospital's profile: what is valid, what is refused, and that the example explains all of it."""

import re
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.config import (
    Dicomweb,
    Peer,
    Receiver,
    SiteConfig,
    StatisticsPolicy,
    TrainingMachine,
    load_site,
)
from client.dicom.policy import ReadPolicy
from federation.strict_yaml import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
EXAMPLE = (CONFIGS / "hospital.example.yaml").read_text()
SITE = yaml.safe_load(EXAMPLE)
BLOCKS = {
    "dicomweb": Dicomweb,
    "receiver": Receiver,
    "reading": ReadPolicy,
    "statistics": StatisticsPolicy,
    "training": TrainingMachine,
}


def written(folder: Path, changes: dict[str, Any]) -> Path:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(SITE | changes))
    return path


def uncommented() -> dict[str, Any]:
    """The example with every optional key switched on."""
    lines = [
        re.sub(r"^# (?=( *)[a-z_]+:( |$))", "", line)
        for line in EXAMPLE.splitlines()
        if re.match(r"^(# )? *[a-z_]+:( |$)", line)
    ]
    content = yaml.safe_load("\n".join(lines))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("hospital*.yaml")), ids=lambda p: p.name)
def test_every_profile_that_is_delivered_is_valid(path: Path) -> None:
    assert load_site(path).image_size > 0


@pytest.mark.parametrize("schema", [SiteConfig, Peer, *BLOCKS.values()])
def test_the_example_explains_every_key_that_a_profile_may_have(schema: type) -> None:
    assert is_dataclass(schema)
    assert [field.name for field in fields(schema) if f"{field.name}:" not in EXAMPLE] == []


def test_the_example_with_every_key_switched_on_is_valid(tmp_path: Path) -> None:
    content = uncommented()
    assert set(content) == {field.name for field in fields(SiteConfig)}
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(content))
    site = load_site(path)
    assert site.dicomweb is not None
    assert site.dicomweb.since == date(2015, 1, 1)
    assert site.dicomweb.password_path == tmp_path / "pacs.password"
    assert site.receiver is not None
    assert site.receiver.peers == (Peer(ae_title="PACS", host="10.0.0.5"),)
    assert site.reading.views == ("PA", "AP")
    assert site.statistics == StatisticsPolicy(share=False, min_cell=10, epsilon=1.0)


@pytest.mark.parametrize("block", ["receiver", "reading", "statistics"])
def test_the_defaults_that_the_example_states_are_those_of_the_code(block: str) -> None:
    schema = BLOCKS[block]
    text = EXAMPLE[EXAMPLE.index(f"# {block}:") :].split("\n")
    stated = {}
    for line in text[1:]:
        found = re.match(r"^#   ([a-z_]+): ([^#]*)#.*default ([^;]*)$", line)
        if not line.startswith("#   "):
            break
        if found:
            stated[found[1]] = (found[2].strip(), found[3].strip())
    defaults = {f.name: f.default for f in fields(schema) if f.default is not MISSING}
    for name, (value, default) in stated.items():
        shown = yaml.safe_load(default)
        if isinstance(shown, str) and shown not in {"FEDCXR"}:
            shown = yaml.safe_load(value)  # said in words, beside the value itself
        if isinstance(defaults[name], tuple):
            assert default == ", ".join(defaults[name])
        else:
            assert shown == defaults[name], name
    assert stated


def test_relative_paths_are_relative_to_the_profile(tmp_path: Path) -> None:
    site = load_site(written(tmp_path, {"labels_path": "x/labels.csv"}))
    assert site.state_path == tmp_path / "state"
    assert site.labels_path == tmp_path / "x" / "labels.csv"
    assert site.public_key_path is None


@pytest.mark.parametrize("name", ["nih", "own.yaml", "own.yml"])
def test_a_mapping_is_a_name_or_a_file_beside_the_profile(tmp_path: Path, name: str) -> None:
    mapping = load_site(written(tmp_path, {"label_mapping": name})).label_mapping
    assert mapping == (name if name == "nih" else str(tmp_path / name))


def test_a_mapping_is_a_file_beside_the_profile_or_one_that_comes_with_the_program(
    tmp_path: Path,
) -> None:
    own = load_site(written(tmp_path, {"label_mapping": "words.yaml"}))
    assert own.label_mapping == str(tmp_path / "words.yaml")
    assert load_site(written(tmp_path, {"label_mapping": "nih"})).label_mapping == "nih"


def test_bytes_go_to_the_coordinator_alone_unless_the_profile_names_other_hosts(
    tmp_path: Path,
) -> None:
    assert load_site(written(tmp_path, {})).blob_hosts == ()
    named = load_site(written(tmp_path, {"blob_hosts": ["models.s3.example", "localhost"]}))
    assert named.blob_hosts == ("models.s3.example", "localhost")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert load_site(written(tmp_path, {"data_path": "/srv/pacs"})).data_path == Path("/srv/pacs")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"coordinator": "host"}, "coordinator: "),
        ({"coordinator": "host:port"}, "coordinator: "),
        ({"coordinator": "https://host:1"}, "coordinator: "),
        ({"coordinator": "ho st:1"}, "coordinator: "),
        ({"site_name": ""}, "site_name: "),
        ({"site_name": "St-Elsewhere"}, "site_name: "),
        ({"site_name": "../a"}, "site_name: "),
        ({"site_name": "a/b"}, "site_name: "),
        ({"site_name": "-a"}, "site_name: "),
        ({"site_name": "a" * 41}, "site_name: "),
        ({"data_path": None}, "one of data_path, dicomweb and receiver"),
        ({"dicomweb": {"url": "pacs.example"}}, "url must begin with https://"),
        ({"dicomweb": {"url": "https://me:secret@pacs"}}, "url must hold no name or password"),
        ({"dicomweb": {"url": "https://x", "pasword_path": "x"}}, "dicomweb.pasword_path"),
        ({"receiver": {"peers": []}}, "peers must name at least one machine"),
        ({"receiver": {"peers": [{"ae_title": "A" * 17, "host": "x"}]}}, "ae_title"),
        ({"receiver": {"peers": [{"ae_title": "A", "host": "x"}], "port": 70000}}, "port"),
        ({"reading": {"views": []}}, "views must name one or more"),
        ({"reading": {"views": ["FRONTAL"]}}, "reading.views.0"),
        ({"reading": {"ethnic_groups": {"ASIAN": "martian"}}}, "ethnic_groups must lead to"),
        ({"statistics": {"epsilon": 0.0}}, "statistics.epsilon"),
        ({"statistics": {"min_cell": 0}}, "statistics.min_cell"),
        ({"blob_hosts": ["https://bucket.example"]}, "blob_hosts must be names of hosts"),
        ({"blob_hosts": ["bucket.example:443"]}, "blob_hosts must be names of hosts"),
        ({"blob_hosts": ["*.example"]}, "blob_hosts must be names of hosts"),
        ({"blob_hosts": "bucket.example"}, "blob_hosts"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        load_site(written(tmp_path, changes))
    assert complaint in str(caught.value)
