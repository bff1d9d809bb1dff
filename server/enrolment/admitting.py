"""What the coordinator does when a hospital asks to join, or to have its certificate renewed."""

import logging
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from federation.certificates import Authority
from federation.enrolment import (
    VERSION,
    Enrolled,
    JoinRequest,
    NotEnrolled,
    RenewRequest,
    public_pem_of,
)
from federation.strict_json import Content, parse_json, version_of
from federation.strict_yaml import ConfigError
from server.enrolment.authority import study_authority
from server.enrolment.certifying import RequestUnusable, certify, read_request
from server.enrolment.invitations import CannotEnrol, find_invitation, mark_used
from server.enrolment.opening import Opening, find_opening
from server.enrolment.register import changing, digest_of_key, enter, keep_certificate, revoked
from server.roster_keys import read_roster

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Admits hospitals to one coordinator."""

    state: Path
    roster: Path

    @property
    def certificates(self) -> Authority:
        """The authority that signs hospitals' certificates; the same that signed the public port's."""
        folder = self.state / "tls"
        return Authority(ca_path=folder / "ca.crt", key_path=folder / "ca.key")

    def join(self, body: bytes) -> Enrolled:
        """Admit a hospital that has an invitation; asked again with the same key, it is admitted again.

        Raises:
            CannotEnrol: saying why not.
            AlreadyRunning: if the register is in use for long.
        """
        opening, asked = self._opening(), _read(body, JoinRequest)
        request = _request_in(asked.request)
        try:
            secret = bytes.fromhex(asked.secret)
        except ValueError as err:
            raise CannotEnrol(NotEnrolled.UNREADABLE) from err
        with changing(self.state):
            key = public_pem_of(request)
            site = self._invited(secret, key)
            certificate = certify(self.certificates, request, site)
            enter(self.state, self.roster, site, key, certificate)
        logger.info("enrolment: %s joined", site)
        return self._answer(opening, site, certificate)

    def renew(self, body: bytes, site: str, public_key: bytes) -> Enrolled:
        """A new certificate for a member that has shown one in force, for the key that it has.

        Raises:
            CannotEnrol: saying why not.
            AlreadyRunning: if the register is in use for long.
        """
        opening, asked = self._opening(), _read(body, RenewRequest)
        request = _request_in(asked.request)
        if public_pem_of(request) != public_key:
            raise CannotEnrol(NotEnrolled.UNREADABLE)
        with changing(self.state):
            if digest_of_key(public_key) in {taken.key for taken in revoked(self.state).keys}:
                raise CannotEnrol(NotEnrolled.KEY_REVOKED)
            certificate = certify(self.certificates, request, site)
            keep_certificate(self.state, site, certificate)
        logger.info("enrolment: %s renewed", site)
        return self._answer(opening, site, certificate)

    def _invited(self, secret: bytes, key: bytes) -> str:
        """The name under which this key is admitted; a key that may not be does not use the invitation up."""
        digest = digest_of_key(key)
        invited = find_invitation(self.state, secret, digest)
        if digest in {taken.key for taken in revoked(self.state).keys}:
            raise CannotEnrol(NotEnrolled.KEY_REVOKED)
        holders = {name for name, known in read_roster(self.roster).keys.items() if known == key}
        if holders - {invited.site}:
            raise CannotEnrol(NotEnrolled.KEY_TAKEN)
        mark_used(self.state, invited, digest)
        return invited.site

    def _opening(self) -> Opening:
        opening = find_opening(self.state)
        if opening is None:
            raise CannotEnrol(NotEnrolled.NOT_OPEN)
        return opening

    def _answer(self, opening: Opening, site: str, certificate: x509.Certificate) -> Enrolled:
        return Enrolled(
            version=VERSION,
            site=site,
            certificate=certificate.public_bytes(Encoding.PEM).decode(),
            authority=study_authority(self.state).public.decode(),
            image_size=opening.image_size,
        )


def _read(body: bytes, schema: type[Content]) -> Content:
    try:
        if version_of("the request", body) > VERSION:
            raise CannotEnrol(NotEnrolled.VERSION)
        return parse_json("the request", body, schema)
    except ConfigError as err:
        raise CannotEnrol(NotEnrolled.UNREADABLE) from err


def _request_in(pem: str) -> x509.CertificateSigningRequest:
    try:
        return read_request(pem)
    except RequestUnusable as err:
        raise CannotEnrol(NotEnrolled.UNREADABLE) from err
