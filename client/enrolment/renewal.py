"""The hospital's certificate is renewed by itself, a month before it ends, also while a round runs.

The key stays the same, so the coordinator sees the same node; its next call shows the new certificate. Before that the
coordinator's next authority is believed, if there is one: it may be what signs.
"""

import base64
import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from client.config import SiteConfig
from client.enrolment.certificate import read_answer, read_certificate, signing_request
from client.enrolment.following import follow
from client.enrolment.line import ask, trust_in
from client.enrolment.refusals import AnswerUnusable, CannotReach, NeverJoined, Untrusted
from client.evidence.log import PROGRAM, Event, note
from federation.enrolment import (
    CERTIFICATE_HEADER,
    CERTIFICATE_NAME,
    KEY_HEADER,
    RENEW_BEFORE,
    RENEW_PATH,
    VERSION,
    RenewRequest,
    header_of,
)
from federation.files import write_file
from federation.signing import load_private, public_pem
from federation.strict_json import to_json

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0


def renew(site: SiteConfig) -> datetime:
    """Have the certificate renewed now; returns until when the new one is in force.

    Raises:
        NeverJoined: if there is none.
        CannotReach, Untrusted: if the coordinator cannot be asked.
        NotAdmitted: if it says no, for example because the certificate is over.
        AnswerUnusable: if its answer is not what was asked for; the old certificate stays.
    """
    path = site.state_path / CERTIFICATE_NAME
    certificate = read_certificate(path)
    if certificate is None:
        raise NeverJoined(path)
    follow(site)
    key_path, authority = site.state_path / "node.key", site.ca_path.read_bytes()
    asked = RenewRequest(version=VERSION, request=signing_request(key_path, site.site_name))
    content = ask(
        site.coordinator,
        "POST",
        RENEW_PATH,
        trust_in(authority),
        body=to_json(asked),
        headers=_shown(key_path, certificate),
        proxy=site.proxy,
    )
    enrolled = read_answer(content, site=site.site_name, authority=authority, key_path=key_path)
    renewed = x509.load_pem_x509_certificate(enrolled.certificate.encode())
    until = renewed.not_valid_after_utc
    note(site.state_path, Event.RENEWED, actor=PROGRAM, facts={"until": f"{until:%Y-%m-%d}"})
    write_file(path, enrolled.certificate.encode(), mode=0o644)
    return until


def is_due(site: SiteConfig) -> bool:
    """Whether the certificate ends within a month; one that is over cannot be renewed, and none need not be."""
    certificate = read_certificate(site.state_path / CERTIFICATE_NAME)
    if certificate is None:
        return False
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return timedelta() < left < RENEW_BEFORE


@contextlib.contextmanager
def renewing(site: SiteConfig) -> Iterator[None]:
    """Look once an hour, beside whatever else is done."""
    done = threading.Event()

    def look() -> None:
        while True:
            _renew_if_due(site)
            if done.wait(LOOK_SECONDS):
                return

    threading.Thread(target=look, name="renewal", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _renew_if_due(site: SiteConfig) -> None:
    if read_certificate(site.state_path / CERTIFICATE_NAME) is None:
        return
    try:
        follow(site)
        if is_due(site):
            logger.info("the certificate is renewed until %s", f"{renew(site):%Y-%m-%d}")
    except (CannotReach, Untrusted, AnswerUnusable) as err:
        logger.warning("certificates are looked at again in an hour: %s", err)
    except Exception:
        logger.exception("the certificate could not be renewed; it is tried again in an hour")


def _shown(key_path: Path, certificate: x509.Certificate) -> dict[str, str]:
    """Who asks: the key as Flower's node shows it, and the certificate."""
    public = base64.b64encode(public_pem(load_private(key_path))).decode()
    return {KEY_HEADER: public, CERTIFICATE_HEADER: header_of(certificate)}
