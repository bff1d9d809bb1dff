"""The compose file, the image and the profiles beside them agree with one another and with the code."""

import shlex
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml

import cli
from client.config import SiteConfig, load_site
from client.privacy_policy import load_policy
from federation.config import load_study

ROOT = Path(__file__).parents[1]
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
PROFILES = ROOT / "configs" / "compose"

Service = dict[str, Any]


@pytest.fixture
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


def volumes(service: Service) -> dict[str, tuple[str, bool]]:
    """Source and whether it can be written, by mount point."""
    parts = [mount.split(":") for mount in service["volumes"]]
    return {part[1]: (part[0], part[2:] != ["ro"]) for part in parts}


def mount_of(path: Path, service: Service) -> tuple[str, bool]:
    return next(mount for target, mount in volumes(service).items() if path.is_relative_to(target))


def profile(name: str) -> SiteConfig:
    return load_site(PROFILES / f"{name}.yaml")


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def packages() -> list[str]:
    """What the wheel is made of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    return included


def test_no_container_has_root_a_capability_or_a_writable_root(
    services: dict[str, Service],
) -> None:
    for service in services.values():
        assert int(service["user"].split(":")[0]) >= 1000
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert "cap_add" not in service


def test_no_container_can_take_all_memory_all_processes_or_the_whole_disk(
    services: dict[str, Service],
) -> None:
    for service in services.values():
        assert service["mem_limit"]
        assert service["pids_limit"] <= 1024
        assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", HOSPITALS)
def test_a_hospital_has_a_policy_of_its_own_whose_ledger_outlives_its_container(
    name: str, services: dict[str, Service]
) -> None:
    site, service = profile(name), services[name]
    assert site.privacy_path is not None
    source, writable = mount_of(site.privacy_path, service)
    assert (source, writable) == (f"./configs/compose/{name}-policy.yaml", False)
    policy = load_policy(ROOT / source)
    assert mount_of(policy.ledger_path, service) == (f"{name}-state", True)
    assert site.authority_path is not None
    assert mount_of(site.authority_path, service) == ("authority", False)


def test_each_hospital_shares_its_only_network_with_nobody_but_the_coordinator(
    services: dict[str, Service],
) -> None:
    for name in HOSPITALS:
        (network,) = services[name]["networks"]
        members = [other for other in services if network in services[other].get("networks", [])]
        assert sorted(members) == ["coordinator", name]


def test_no_network_leads_out_and_no_port_leads_in(compose: dict[str, Any]) -> None:
    assert all(network["internal"] for network in compose["networks"].values())
    assert not any("ports" in service for service in compose["services"].values())
    assert compose["services"]["phantoms"]["network_mode"] == "none"


def test_the_coordinator_does_not_carry_packets_between_hospitals(
    services: dict[str, Service],
) -> None:
    assert services["coordinator"]["sysctls"] == {"net.ipv4.ip_forward": "0"}


def test_two_hospitals_have_nothing_in_common_but_the_certificate(
    services: dict[str, Service],
) -> None:
    for one, other in combinations(HOSPITALS, 2):
        shared = set(volumes(services[one]).values()) & set(volumes(services[other]).values())
        assert shared == {("authority", False)}


def test_the_coordinator_sees_of_a_hospital_only_the_public_key(
    services: dict[str, Service],
) -> None:
    own = set(volumes(services["coordinator"]).values())
    for name in HOSPITALS:
        sources = {source for source, _ in volumes(services[name]).values()}
        seen = {mount for mount in own if mount[0] in sources}
        assert seen == {(f"{name}-public", False), ("authority", True)}


@pytest.mark.parametrize("name", HOSPITALS)
def test_a_profile_names_places_that_its_container_has(
    name: str, services: dict[str, Service]
) -> None:
    site, service = profile(name), services[name]
    assert site.site_name == name
    assert site.data_path is not None
    assert site.labels_path is not None
    assert site.public_key_path is not None
    assert site.public_key_path.stem == name
    assert mount_of(site.data_path, service) == (f"{name}-data", False)
    assert mount_of(site.labels_path, service) == (f"{name}-data", False)
    assert mount_of(site.ca_path, service) == ("authority", False)
    assert mount_of(site.state_path, service) == (f"{name}-state", True)
    assert mount_of(site.public_key_path, service) == (f"{name}-public", True)
    assert volumes(services["phantoms"])[f"/phantoms/{name}"] == (f"{name}-data", True)


def test_the_study_fits_the_hospitals_and_survives_the_loss_of_one() -> None:
    study = load_study(PROFILES / "study.yaml")
    assert {profile(name).image_size for name in HOSPITALS} == {study.model.image_size}
    assert study.rounds.num_sites == len(HOSPITALS)
    assert study.rounds.min_sites == len(HOSPITALS) - 1


@pytest.mark.parametrize("name", HOSPITALS)
def test_hospitals_call_the_coordinator_where_it_listens_under_a_name_in_its_certificate(
    name: str, services: dict[str, Service]
) -> None:
    command = services["coordinator"]["command"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert profile(name).coordinator == f"coordinator:{options['--port']}"
    assert options["--name"] == "coordinator"
    assert options["--listen"] == "0.0.0.0"  # noqa: S104  the container's own networks


def test_healthy_means_contributing_and_not_merely_alive(services: dict[str, Service]) -> None:
    status = ["CMD", "fedcxr", "hospital", "health", "/etc/fedcxr/site.yaml"]
    assert all(services[name]["healthcheck"]["test"] == status for name in HOSPITALS)
    assert services["coordinator"]["healthcheck"]["test"][1:4] == [
        "fedcxr",
        "coordinator",
        "status",
    ]


def test_every_command_of_the_compose_file_is_one_that_fedcxr_has(
    services: dict[str, Service],
) -> None:
    commands = [services["phantoms"]["command"], services["coordinator"]["command"]]
    commands += [
        service["healthcheck"]["test"][2:]
        for service in services.values()
        if "test" in service["healthcheck"]
    ]
    for line in services["hospital-a"]["command"][0].split("&&"):
        words = shlex.split(line)
        commands.append(words[words.index("fedcxr") + 1 :])
    assert len(commands) == 8
    for words in commands:
        parse(words)


def parse(words: list[str]) -> None:
    """Read a command line as fedcxr would, without running it; click complains about what it does not know."""
    command: click.Command = typer.main.get_command(cli.app)
    rest = list(words)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    # The files a command names exist in the container only.
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.make_context(words[0], rest)


def test_a_volume_gets_its_owner_from_a_folder_in_the_image(services: dict[str, Service]) -> None:
    folders = dockerfile().split("install -d -o fedcxr", 1)[1].split("\n# ", 1)[0].split()
    for service in services.values():
        for target, (_, writable) in volumes(service).items():
            assert not writable or target in folders


def test_the_image_is_made_of_everything_the_wheel_is_made_of() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [line.split()[1:-1] for line in dockerfile().splitlines() if line.startswith("COPY ")]
    sources = {source for line in copied for source in line}
    for name in packages():
        assert f"!{name}" in ignored
        assert name in sources


def test_the_build_context_is_a_list_of_what_is_wanted() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert patterns[-1] == "**/__pycache__"
    assert all(pattern.startswith("!") for pattern in patterns[1:-1])


def test_the_image_is_built_without_an_index_and_run_without_root() -> None:
    lines = dockerfile().splitlines()
    assert lines[0].startswith("#")
    assert any(line.startswith("ENV PIP_NO_INDEX=1 ") for line in lines)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert "ARG BASE=python:3.11-slim-bookworm" in lines


def test_both_generations_of_compose_can_read_the_file(compose: dict[str, Any]) -> None:
    assert "version" not in compose
    assert "name" not in compose
