"""A round's place in the hospital's policy and ledger: allowed, reserved, settled, in that order or not at all.

    allow -> reserve -> first gradient ... finished update on the disk -> settle -> send

What the coordinator hears of a refusal is that it is one. How much was spent, and on what, stays in the hospital's log.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from client.config import SiteConfig
from client.evidence.ledger_heads import missing_heads
from client.evidence.log import LogUnreadable, entries
from client.privacy_policy import (
    PrivacyPolicy,
    ledger_of,
    load_policy,
    why_delta_refused,
    why_refused,
)
from client.refused import NotTaken
from federation.files import write_file
from federation.messages import Instruction, RefusalCode
from federation.planning.spending import charged_phase
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LoraStage
from federation.strict_yaml import ConfigError
from privacy.ledger.book import LedgerUnreadable, OtherLedger
from privacy.ledger.chain import Chain, ChainDamaged, Head, read_chain
from privacy.ledger.chain_writer import ChainDisturbed, ChainInUse
from privacy.ledger.ledger import AlreadyReleased, BudgetExhausted, Ledger, round_key
from privacy.ledger.witness import LedgerRolledBack, ReceiptInvalid

logger = logging.getLogger(__name__)

UNUSABLE = (
    ChainDamaged,
    ChainDisturbed,
    ChainInUse,
    LedgerRolledBack,
    LedgerUnreadable,
    OtherLedger,
    ReceiptInvalid,
)
WITNESS_KEY = "witness.key"
"""In a study's folder: the key that signed the first receipt; later ones have to be signed by the same."""


def policy_of(site: SiteConfig) -> PrivacyPolicy | None:
    """This hospital's privacy policy; None if its profile names none.

    Raises:
        NotTaken: the file cannot be used.
    """
    if site.privacy_path is None:
        return None
    try:
        return load_policy(site.privacy_path)
    except (ConfigError, OSError) as err:
        logger.warning("%s", err)
        reason = "the hospital's privacy policy cannot be read: its data manager corrects it"
        raise NotTaken(RefusalCode.POLICY, reason) from err


def allow(policy: PrivacyPolicy | None, stage: FullStage | LoraStage, *, base_digest: str) -> None:
    """Hold what a study asks for against the hospital's policy.

    Raises:
        NotTaken: the policy does not allow it, or there is none and privacy is promised.
    """
    terms = stage.local.privacy
    if policy is None:
        if terms is None:
            return
        reason = (
            "the hospital has no privacy policy: its data-protection officer writes one and its data manager sets "
            "privacy_path"
        )
        raise NotTaken(RefusalCode.POLICY, reason)
    refused = why_refused(policy, stage, terms, base_digest=base_digest)
    if refused is not None:
        raise NotTaken(RefusalCode.POLICY, refused)


class PrivateRound:
    """One round of one study in the data set's ledger."""

    def __init__(
        self,
        policy: PrivacyPolicy,
        terms: PrivacyTerms,
        *,
        digest: str,
        number: int,
        num_steps: int,
    ) -> None:
        self._policy, self._digest, self._num_steps = policy, digest, num_steps
        self._key = round_key(digest, number)
        self._phase = charged_phase(terms, num_steps)

    def take_receipt(self, instruction: Instruction, folder: Path, *, site_name: str) -> None:
        """Keep what the coordinator countersigned, and check the ledger against it.

        Raises:
            NotTaken: the ledger does not hold what was countersigned, or another key signed it.
        """
        if instruction.receipt is None:
            return
        first, given = folder / WITNESS_KEY, instruction.witness_key
        with opened(self._policy) as ledger:
            if first.exists() and first.read_text() != given:
                raise ReceiptInvalid("is signed with another key than the study's first")
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(given))
            ledger.keep(instruction.receipt, key, site_name=site_name)
        if not first.exists():
            write_file(first, given.encode())

    def require_newest_ledger(self, state_path: Path) -> None:
        """Check the ledger against what the hospital's own log says of it, before anybody else is believed.

        Raises:
            NotTaken: it is an older one, or one of the two cannot be trusted.
        """
        path = self._policy.ledger_path
        try:
            chain = read_chain(path) if path.exists() else Chain()
            said = entries(state_path)
        except (ChainDamaged, LogUnreadable) as err:
            raise _untrusted(err) from err
        for problem in missing_heads(said, chain, data_set=self._policy.data_set):
            raise _untrusted(problem)

    def reserve(self, num_patients: int) -> Head:
        """Charge the round before the first gradient; the ledger's head after that.

        Raises:
            NotTaken: it would pass the cap, was released before, or the ledger or the delta cannot be used.
        """
        reason = why_delta_refused(self._policy, num_patients)
        if reason is not None:
            raise NotTaken(RefusalCode.POLICY, reason)
        with opened(self._policy) as ledger:
            spent = ledger.reserve(self._key, self._phase, study_digest=self._digest)
            logger.info("%s is reserved, epsilon %.3f of %.3f", self._key, spent, ledger.cap)
            return ledger.head

    def settle(self, released: str) -> None:
        """Say that the finished update may leave, this one and no other.

        Args:
            released: SHA-256 of its change.

        Raises:
            NotTaken: another one was released, or the ledger cannot be used.
        """
        with opened(self._policy) as ledger:
            ledger.settle(self._key, num_steps=self._num_steps, released=released)


@contextmanager
def opened(policy: PrivacyPolicy) -> Iterator[Ledger]:
    """The data set's ledger, once nobody else has it; what goes wrong as a refusal.

    Raises:
        NotTaken: the budget is spent, an answer would be made twice, or the ledger cannot be trusted.
    """
    try:
        with ledger_of(policy, patience_seconds=math.inf) as ledger:
            yield ledger
    except BudgetExhausted as err:
        logger.warning("%s", err)
        reason = "the hospital's privacy budget for these patients is spent"
        raise NotTaken(RefusalCode.BUDGET, reason) from err
    except AlreadyReleased as err:
        logger.warning("%s", err)
        reason = "the hospital has answered this round before, and an answer is made only once"
        raise NotTaken(RefusalCode.REPLAY, reason) from err
    except UNUSABLE as err:
        raise _untrusted(err) from err


def _untrusted(why: object) -> NotTaken:
    logger.warning("%s", why)
    reason = (
        "the hospital's privacy ledger cannot be trusted: its data-protection officer types `fedcxr hospital ledger "
        "--verify` and `fedcxr hospital audit verify`"
    )
    return NotTaken(RefusalCode.LEDGER, reason)


def private_round(
    policy: PrivacyPolicy | None, stage: FullStage | LoraStage, *, digest: str, number: int
) -> PrivateRound | None:
    """The round's place in the ledger; None if it promises nothing."""
    terms = stage.local.privacy
    if policy is None or terms is None:
        return None
    return PrivateRound(
        policy, terms, digest=digest, number=number, num_steps=stage.local.local_steps
    )
