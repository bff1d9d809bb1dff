"""What a round adds to the evidence, step by step; a hospital whose log cannot be written takes no part.

    asked -> (refused) | change made -> change left

Asked again and again for the same, the log says it once.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from client.config import SiteConfig
from client.evidence import log
from client.evidence.ledger_heads import ledger_facts
from client.evidence.log import Event
from client.evidence.receipts import ReceiptDamaged, is_issued, issue, receipt_of
from client.kept import Finished
from client.privacy_policy import load_policy
from client.refused import NotTaken
from federation.config import parse_study
from federation.files import AlreadyRunning
from federation.messages import Instruction, Refusal, RefusalCode, Update
from federation.node_keys import make_node_key
from federation.signing import load_private
from federation.update_signature import sign_update
from privacy.ledger.chain import Chain, ChainDamaged
from privacy.ledger.chain_writer import ChainDisturbed, ChainInUse
from privacy.ledger.ledger import round_key
from privacy.ledger.verification import Statement, read_statement

logger = logging.getLogger(__name__)

UNUSABLE = (
    AlreadyRunning,
    ChainDamaged,
    ChainDisturbed,
    ChainInUse,
    ReceiptDamaged,
    log.LogUnreadable,
)


def plan_of(instruction: Instruction) -> str:
    """Digest of the plan that came with an instruction; empty if none did."""
    return instruction.plan.digest if instruction.plan else ""


def round_asked(site: SiteConfig, instruction: Instruction, *, study: str) -> None:
    """The coordinator asked for a round; under a privacy policy that is new here, that comes first.

    Raises:
        NotTaken: the log cannot be written.
    """
    with recorded():
        _policy_seen(site)
        log.note_news(
            site.state_path,
            Event.ROUND_ASKED,
            actor=log.COORDINATOR,
            plan=plan_of(instruction),
            facts={"study": study, "round": instruction.round_number},
        )


def round_refused(site: SiteConfig, instruction: Instruction, refusal: Refusal) -> None:
    """The hospital said no. Where even that cannot be noted, it is in the program's own log."""
    reason = " ".join(refusal.reason.split())[: log.MAX_LETTERS]
    facts: dict[str, log.Fact] = {
        "round": instruction.round_number,
        "code": str(refusal.code),
        "reason": reason,
    }
    try:
        log.note_news(
            site.state_path,
            Event.ROUND_REFUSED,
            actor=log.PROGRAM,
            plan=plan_of(instruction),
            facts=facts,
        )
    except (*UNUSABLE, OSError) as err:
        logger.warning("the refusal is not in the hospital's log: %s", err)


def change_made(site: SiteConfig, instruction: Instruction, finished: Finished) -> None:
    """A round was trained, and its update lies here.

    Raises:
        NotTaken: the log cannot be written.
    """
    update = finished.update
    facts: dict[str, log.Fact] = {
        "study": parse_study(finished.asked.study).name,
        "round": update.round_number,
        "bytes": update.change.num_bytes,
        "parcel": update.change.digest,
    }
    with recorded():
        log.note_news(
            site.state_path,
            Event.CHANGE_MADE,
            actor=log.PROGRAM,
            plan=plan_of(instruction),
            facts=facts,
        )


def change_leaves(site: SiteConfig, finished: Finished, *, plan: str) -> None:
    """Give a change its receipt, before any of it leaves.

    Raises:
        NotTaken: there can be no receipt, so nothing may leave.
    """
    update = finished.update
    if is_issued(site.state_path, update):
        return
    with recorded():
        statement = _statement(site, update)
        receipt = receipt_of(
            update,
            site_name=site.site_name,
            study_name=parse_study(finished.asked.study).name,
            plan=plan,
            epsilon=_epsilon(statement, update),
            log_head=log.head(site.state_path),
        )
        key = make_node_key(site.state_path, site.site_name)
        issue(site.state_path, receipt, key, ledger_facts(statement.chain))


def signed(site: SiteConfig, update: Update, *, plan: str) -> Update:
    """An update with the hospital's signature to it; the same update always has the same."""
    key = make_node_key(site.state_path, site.site_name)
    return sign_update(update, load_private(key.private_path), plan_digest=plan)


@contextmanager
def recorded() -> Iterator[None]:
    """What cannot be recorded as a refusal.

    Raises:
        NotTaken: the log or a receipt cannot be trusted or written.
    """
    try:
        yield
    except UNUSABLE as err:
        logger.warning("%s", err)
        reason = (
            "the hospital's record of what leaves it cannot be trusted: its data manager types `fedcxr hospital audit "
            "verify`"
        )
        raise NotTaken(RefusalCode.EVIDENCE, reason) from err


def _policy_seen(site: SiteConfig) -> None:
    """Note a privacy policy that differs from the one before, by its bytes; a file that is missing is no policy."""
    if site.privacy_path is None or not site.privacy_path.exists():
        return
    digest = hashlib.sha256(site.privacy_path.read_bytes()).hexdigest()
    log.note_news(
        site.state_path, Event.POLICY_CHANGED, actor=log.PROGRAM, facts={"sha256": digest}
    )


def _statement(site: SiteConfig, update: Update) -> Statement:
    """What the data set's ledger says now; nothing without privacy."""
    if update.ledger is None or site.privacy_path is None:
        return Statement(chain=Chain(), book=None, receipts=())
    return read_statement(load_policy(site.privacy_path).ledger_path)


def _epsilon(statement: Statement, update: Update) -> float | None:
    """What the data set has spent with this round, as its ledger has it; None without privacy."""
    key, book = round_key(update.study_digest, update.round_number), statement.book
    charge = None if book is None else book.charges.get(key)
    return None if charge is None else charge.spent_after
