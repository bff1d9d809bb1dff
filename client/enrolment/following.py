"""The coordinator's next authority is believed because one that this hospital believes already vouches for it.

Both count from then on, until the older one ends. Nobody has to do anything for it, and the log says that it happened.
"""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from client.config import SiteConfig
from client.enrolment.line import ask, trust_in
from client.enrolment.refusals import AnswerUnusable
from client.evidence.log import PROGRAM, Event, note_news
from federation.authorities import followed
from federation.enrolment import CA_PATH
from federation.files import write_file
from federation.invitation import spoken
from federation.pem import certificates_pem


def follow(site: SiteConfig) -> None:
    """Ask the coordinator for its authorities, and believe those that one in ``ca_path`` vouches for.

    Raises:
        CannotReach, Untrusted: if the coordinator cannot be asked.
        AnswerUnusable: if its answer is none.
        OSError: if ``ca_path`` cannot be written.
    """
    content = site.ca_path.read_bytes()
    held = x509.load_pem_x509_certificates(content)
    answer = ask(site.coordinator, "GET", CA_PATH, trust_in(content), proxy=site.proxy)
    believed = followed(held, authorities_of(answer))
    new = [each for each in believed if each not in held]
    if new:
        note_followed(site.state_path, new)
        write_file(site.ca_path, certificates_pem(believed), mode=0o644)


def authorities_of(answer: bytes) -> list[x509.Certificate]:
    """What a coordinator says its authorities are; nothing of it is believed yet.

    Raises:
        AnswerUnusable: if it says nothing.
    """
    try:
        return x509.load_pem_x509_certificates(answer)
    except ValueError as err:
        raise AnswerUnusable("holds no certificate of an authority") from err


def note_followed(state_path: Path, new: Sequence[x509.Certificate]) -> None:
    """Put into the log which authorities are believed from now on."""
    for each in reversed(new):
        until = f"{each.not_valid_after_utc:%Y-%m-%d}"
        facts = {"fingerprint": spoken(each.fingerprint(SHA256())), "until": until}
        note_news(state_path, Event.AUTHORITY_FOLLOWED, actor=PROGRAM, facts=facts)
