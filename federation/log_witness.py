"""The coordinator's word that it saw a hospital's log of evidence in some state, so that another log in its place shows.

With every answer the hospital says the head of its log (a number and a SHA-256, nothing of what the log holds), signed
with its node's key. The study authority signs what came, and the witness goes to the hospital with its next instruction.
Nobody can make a witness alone: it needs a head that the hospital signed, and the authority's signature on that.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from federation.field_types import Digest, SiteName, Whole
from federation.signing import PrivateKey, sign, verify
from federation.strict_yaml import STRICT, ConfigError, check_config
from privacy.ledger.chain import Head

HEAD_PURPOSE = "fedcxr log head 1\n"
WITNESS_PURPOSE = "fedcxr log witness 1\n"
"""Signed with each, so that no signature for anything else can pass for one."""
MAX_LETTERS = 4000
"""Of a witness that is read; one has a few hundred."""

Signature = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){8,150}$")]


class WitnessInvalid(ValueError):
    """Something that is no witness of this hospital's log."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"a witness of the log {why}: the hospital's data manager and the coordinator's operator compare the head of "
            "the log by telephone (`fedcxr hospital audit verify`, `fedcxr coordinator witness SITE`)"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedHead:
    """The state of a hospital's log, in the hospital's own word."""

    head: Head
    signature: str
    """By the key of the hospital's node, in hex."""

    def is_signed_by(self, public_key: bytes, *, site_name: str) -> bool:
        """Whether the holder of this public key (PEM) said so of this hospital's log."""
        content = _head_bytes(self.head, site_name)
        return verify(public_key, content, bytes.fromhex(self.signature))


@dataclass(frozen=True, kw_only=True, slots=True)
class LogWitness:
    """The study authority's word on the state of a hospital's log."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    site_name: SiteName
    count: Whole
    """Entries of the log."""
    digest: Digest
    """Its head."""
    head_signature: Signature
    """The hospital's, on the two."""
    study_digest: Digest
    round_number: Whole
    """With whose answer the head came."""
    seconds: Whole
    """When it came, in seconds since 1970, UTC."""
    signature: str = ""
    """The authority's, on all of this, in hex."""

    @property
    def head(self) -> Head:
        """The state of the log."""
        return Head(count=self.count, digest=self.digest)

    @property
    def said(self) -> SignedHead:
        """What the hospital said."""
        return SignedHead(head=self.head, signature=self.head_signature)

    @property
    def signed_bytes(self) -> bytes:
        """One spelling per witness, without the authority's signature."""
        return (WITNESS_PURPOSE + witness_text(replace(self, signature=""))).encode()

    def is_signed_by(self, authority: bytes) -> bool:
        """Whether the holder of this public key (PEM) witnessed exactly this."""
        try:
            signature = bytes.fromhex(self.signature)
        except ValueError:
            return False
        return verify(authority, self.signed_bytes, signature)


def sign_head(head: Head, key: PrivateKey, *, site_name: str) -> SignedHead:
    """What a hospital says of its log."""
    return SignedHead(head=head, signature=sign(key, _head_bytes(head, site_name)).hex())


def witness_text(witness: LogWitness) -> str:
    """A witness as one line of JSON."""
    return json.dumps(asdict(witness), sort_keys=True, separators=(",", ":"))


def parse_witness(text: str) -> LogWitness:
    """A witness that travelled as text.

    Raises:
        WitnessInvalid: it is none.
    """
    if len(text) > MAX_LETTERS:
        raise WitnessInvalid("is far too long")
    try:
        return witness_of(json.loads(text))
    except (ValueError, RecursionError) as err:
        raise WitnessInvalid("cannot be read") from err


def witness_of(content: object) -> LogWitness:
    """Plain content as a witness; nothing of it is believed.

    Raises:
        WitnessInvalid: it is none.
    """
    try:
        return check_config("a witness of the log", content, LogWitness)
    except ConfigError as err:
        raise WitnessInvalid("cannot be read") from err


def _head_bytes(head: Head, site_name: str) -> bytes:
    content = {"site": site_name, "count": head.count, "digest": head.digest}
    return (HEAD_PURPOSE + json.dumps(content, sort_keys=True, separators=(",", ":"))).encode()
