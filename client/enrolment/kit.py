"""A hospital's folder after it joined: its profile, its policy, whom to trust, and a note of who wrote it.

Profile and policy are the commented examples with this hospital's values filled in. They are the hospital's own from
then on: joining again replaces what the coordinator gave, never what a person may have changed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from client.config import SiteConfig, load_site
from client.enrolment.refusals import NewerKit, OtherHospital
from client.privacy_policy import load_policy
from federation.enrolment import CERTIFICATE_NAME, Enrolled
from federation.files import make_private_folder, write_file
from federation.invitation import Invitation
from federation.strict_json import to_json, version_of
from federation.strict_yaml import STRICT

VERSION = 1
PROFILE, POLICY, KIT = "site.yaml", "policy.yaml", "kit.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """What later releases need to know of how this folder was made."""

    __pydantic_config__: ClassVar = STRICT

    version: int = VERSION
    site: str
    coordinator: str
    fingerprint: str
    """SHA-256 of the coordinator's authority, in hexadecimal."""
    joined: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the hospital says when it joins."""

    data_path: Path | None
    policy: Path | None
    """A privacy policy to copy; None: the example's."""
    proxy: str | None


def check_folder(folder: Path, invitation: Invitation) -> None:
    """See that joining here would not take the place of another hospital.

    Raises:
        OtherHospital: if the folder's profile is for another one, or for another coordinator.
        NewerKit: if a later release wrote it.
        ConfigError: if its profile cannot be read.
    """
    kit, profile = folder / KIT, folder / PROFILE
    if kit.exists() and version_of(str(kit), kit.read_bytes()) > VERSION:
        raise NewerKit(kit)
    if not profile.exists():
        return
    site = load_site(profile)
    if site.site_name != invitation.site:
        raise OtherHospital(profile, "site_name", site.site_name, invitation.site)
    if site.coordinator != invitation.address:
        raise OtherHospital(profile, "coordinator", site.coordinator, invitation.address)


def state_of(folder: Path) -> Path:
    """The state folder that a hospital in this folder has, or will have."""
    profile = folder / PROFILE
    path = load_site(profile).state_path if profile.exists() else folder / "state"
    return make_private_folder(path)


def write_kit(
    folder: Path,
    invitation: Invitation,
    enrolled: Enrolled,
    authority: bytes,
    choices: Choices,
) -> SiteConfig:
    """Write everything; the profile last, since it is what makes a folder a hospital's.

    Raises:
        ConfigError: if the policy that was given cannot be used.
    """
    write_file(folder / "ca.crt", authority, mode=0o644)
    write_file(folder / "authority.pub", enrolled.authority.encode(), mode=0o644)
    if not (folder / POLICY).exists():
        write_file(folder / POLICY, _policy(invitation.site, choices.policy))
    kit = Kit(
        site=invitation.site,
        coordinator=invitation.address,
        fingerprint=invitation.fingerprint.hex(),
        joined=datetime.now(UTC),
    )
    write_file(folder / KIT, to_json(kit), mode=0o644)
    write_file(state_of(folder) / CERTIFICATE_NAME, enrolled.certificate.encode(), mode=0o644)
    if not (folder / PROFILE).exists():
        write_file(folder / PROFILE, _profile(invitation, enrolled, choices))
    return load_site(folder / PROFILE)


def _profile(invitation: Invitation, enrolled: Enrolled, choices: Choices) -> bytes:
    values: dict[str, str | int] = {
        "site_name": invitation.site,
        "coordinator": invitation.address,
        "ca_path": "ca.crt",
        "authority_path": "authority.pub",
        "state_path": "state",
        "image_size": enrolled.image_size,
        "data_path": str(choices.data_path),
        "privacy_path": POLICY,
    }
    if choices.proxy:
        values["proxy"] = choices.proxy
    return filled(_example("hospital"), values).encode()


def _policy(site: str, given: Path | None) -> bytes:
    if given is not None:
        load_policy(given)
        return given.read_bytes()
    return filled(_example("privacy"), {"data_set": site}).encode()


def _example(name: str) -> str:
    return (files("configs") / f"{name}.example.yaml").read_text(encoding="utf-8")


def filled(example: str, values: Mapping[str, str | int]) -> str:
    """A commented example with these values in the place of its own; what was switched off by ``#`` is on then.

    Raises:
        AssertionError: if the example has no such key.
    """
    for key, value in values.items():
        line = re.compile(rf"^(?:# )?{key}: +\S+( *# .*)?$", re.MULTILINE)
        shown = json.dumps(value, ensure_ascii=False)
        example, count = line.subn(lambda found: f"{key}: {shown}{found[1] or ''}", example)  # noqa: B023
        assert count == 1, key  # noqa: S101  the example is part of this release
    return example
