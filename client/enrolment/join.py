"""A hospital joins: its key is made here and stays, its certificate is asked for, its folder is written.

Nothing of a patient takes part in it, and the secret of the code is sent to nobody but the coordinator whose
fingerprint the code holds.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from client.config import SiteConfig
from client.enrolment.certificate import read_answer, signing_request
from client.enrolment.following import authorities_of
from client.enrolment.kit import PROFILE, Choices, check_folder, state_of, write_kit
from client.enrolment.line import ask, trust_in
from client.enrolment.refusals import NoRadiographs, NotTheCoordinator
from client.evidence.log import Event, account, note
from client.privacy_policy import load_policy
from federation.authorities import followed
from federation.enrolment import CA_PATH, JOIN_PATH, VERSION, JoinRequest
from federation.files import make_private_folder
from federation.invitation import Invitation, spoken
from federation.node_keys import make_node_key
from federation.pem import certificates_pem
from federation.strict_json import to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """What there is now."""

    site: SiteConfig
    profile: Path
    fingerprint: bytes
    """Of the coordinator's authority."""


def join(
    invitation: Invitation,
    folder: Path,
    *,
    data_path: Path | None = None,
    policy: Path | None = None,
    proxy: str | None = None,
) -> Joined:
    """Join, or join again: what a person may have changed in the folder stays as it is.

    Args:
        invitation: From the code.
        folder: Where the hospital's files will be.
        data_path: Its radiographs; a folder that has a profile says so there.
        policy: A privacy policy to copy; None: the example's.
        proxy: ``http://host:port`` of the way out; None: what the environment says.

    Raises:
        OtherHospital, NewerKit: if the folder is not for this.
        NoRadiographs: if neither the folder nor the caller says where they are.
        CannotReach, Untrusted, NotTheCoordinator: if the coordinator cannot be asked.
        NotAdmitted: if it says no.
        AnswerUnusable: if its answer is not what was asked for.
        ConfigError: if the policy or the folder's profile cannot be used.
    """
    check_folder(folder, invitation)
    if data_path is None and not (folder / PROFILE).exists():
        raise NoRadiographs
    if policy is not None:
        load_policy(policy)
    authority = _pinned_authority(invitation, proxy)
    make_private_folder(folder)
    key = make_node_key(state_of(folder), invitation.site)
    asked = JoinRequest(
        version=VERSION,
        secret=invitation.secret.hex(),
        request=signing_request(key.private_path, invitation.site),
    )
    content = ask(
        invitation.address,
        "POST",
        JOIN_PATH,
        trust_in(authority),
        body=to_json(asked),
        proxy=proxy,
    )
    enrolled = read_answer(
        content, site=invitation.site, authority=authority, key_path=key.private_path
    )
    facts = {"coordinator": invitation.address, "fingerprint": invitation.fingerprint.hex()}
    note(state_of(folder), Event.JOINED, actor=account(), facts=facts)
    choices = Choices(data_path=data_path, policy=policy, proxy=proxy)
    site = write_kit(folder, invitation, enrolled, authority, choices)
    return Joined(site=site, profile=folder / PROFILE, fingerprint=invitation.fingerprint)


def _pinned_authority(invitation: Invitation, proxy: str | None) -> bytes:
    """The coordinator's authorities (PEM): from whoever answers, but only the one that the code names, and its followers."""
    content = ask(invitation.address, "GET", CA_PATH, trust_in(None), proxy=proxy)
    shown = authorities_of(content)
    named = [each for each in shown if _fingerprint(each) == invitation.fingerprint]
    if not named:
        raise NotTheCoordinator(
            invitation.address, spoken(_fingerprint(shown[0])), spoken(invitation.fingerprint)
        )
    return certificates_pem(followed(named, shown))


def _fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(SHA256())
