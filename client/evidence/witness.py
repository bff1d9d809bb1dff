"""States of this hospital's log that its coordinator witnessed: what was, so that no other log can pass for it.

    answer with the log's head -> the study authority signs it -> back with the next instruction -> kept here, and looked for

A witness that is not of this hospital's own making is not kept, so that a coordinator cannot speak ill of a log. Of what
leaves, the head tells a number of entries and a hash.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from client.config import SiteConfig
from client.evidence import log
from client.evidence.log import Event
from federation.log_witness import LogWitness, SignedHead, WitnessInvalid, sign_head, witness_of
from federation.messages import Answer, Instruction
from federation.node_keys import make_node_key, read_public_key
from federation.signing import load_private
from privacy.ledger.chain import Chain, ChainDamaged, Head, read_chain
from privacy.ledger.chain_writer import ChainDisturbed, ChainInUse, open_chain

logger = logging.getLogger(__name__)

UNUSABLE = (ChainDamaged, ChainDisturbed, ChainInUse, WitnessInvalid, OSError)


def with_head(site: SiteConfig, answer: Answer) -> Answer:
    """An answer that also says where the hospital's log stands; a log that cannot be read says nothing."""
    try:
        head = log.settled_head(site.state_path)
        key = load_private(make_node_key(site.state_path, site.site_name).private_path)
    except UNUSABLE as err:
        logger.warning("the answer goes without the head of the log: %s", err)
        return answer
    said: SignedHead = sign_head(head, key, site_name=site.site_name)
    return replace(answer, log=said)


def take_witness(site: SiteConfig, instruction: Instruction) -> None:
    """Keep what the coordinator witnessed; a forged witness, and a log that is not the witnessed one, are noted.

    No round is held up by it: `hospital audit verify` tells people.
    """
    witness, authority = instruction.log_witness, authority_key(site)
    if witness is None or authority is None:
        return
    facts: dict[str, log.Fact] = {"entries": witness.count, "head": witness.digest}
    try:
        why = _why_forged(site, witness, authority)
        if why is not None:
            _note(site, Event.WITNESS_REFUSED, {**facts, "reason": why})
            return
        keep_witness(site.state_path, witness, authority)
        if not log.read_log(site.state_path).holds(witness.head):
            _note(site, Event.LOG_REPLACED, facts)
    except UNUSABLE as err:
        logger.warning("what the coordinator witnessed is not kept: %s", err)


def keep_witness(state_path: Path, witness: LogWitness, authority: bytes) -> None:
    """Keep a witness; it is on the disk when this returns, once, however often it comes.

    Raises:
        ChainDamaged: what was kept before is not as it was written.
        ChainInUse: another process keeps it for very long.
    """
    path, record = witness_path(state_path, authority), asdict(witness)
    with open_chain(path, patience_seconds=log.PATIENCE_SECONDS) as writer:
        if writer.chain.records[-1:] != (record,):
            writer.append(record)


def kept_witnesses(state_path: Path, authority: bytes) -> tuple[LogWitness, ...]:
    """Everything that this study authority witnessed, oldest first.

    Raises:
        ChainDamaged: it is not as it was written.
        WitnessInvalid: a newer release wrote it.
    """
    path = witness_path(state_path, authority)
    return tuple(map(witness_of, read_chain(path).records)) if path.exists() else ()


def witness_problems(
    chain: Chain, found: tuple[LogWitness, ...], authority: bytes, accepted: Collection[Head]
) -> Iterator[str]:
    """What a log lacks of everything that was witnessed, and witnesses that are none; a sentence each."""
    genuine = genuine_witnesses(found, authority)
    lost = lost_witnesses(chain, genuine, accepted)
    if len(genuine) < len(found):
        yield str(WitnessInvalid("that is kept here was not signed by the study authority"))
    if lost:
        yield _replaced(lost, chain)


def genuine_witnesses(found: Iterable[LogWitness], authority: bytes) -> list[LogWitness]:
    """Those that the study authority signed."""
    return [each for each in found if each.is_signed_by(authority)]


def lost_witnesses(
    chain: Chain, genuine: Iterable[LogWitness], accepted: Collection[Head]
) -> list[LogWitness]:
    """Those that the log does not hold, except the very heads whose loss a person accepted."""
    return [each for each in genuine if not chain.holds(each.head) and each.head not in accepted]


def authority_key(site: SiteConfig) -> bytes | None:
    """The study authority's public key (PEM) as this hospital got it when it joined; None if it is not here."""
    try:
        return None if site.authority_path is None else site.authority_path.read_bytes()
    except OSError:
        return None


def witness_path(state_path: Path, authority: bytes) -> Path:
    """Where what a study authority witnessed is kept; another authority's is kept apart."""
    name = hashlib.sha256(authority).hexdigest()[:12]
    return state_path / log.FOLDER / f"witnessed-{name}.jsonl"


def _why_forged(site: SiteConfig, witness: LogWitness, authority: bytes) -> str | None:
    public = read_public_key(make_node_key(site.state_path, site.site_name).public_path)
    if witness.site_name != site.site_name:
        return "it is another hospital's"
    if not witness.is_signed_by(authority):
        return "the study authority did not sign it"
    if not witness.said.is_signed_by(public, site_name=site.site_name):
        return "this hospital never said so"
    return None


def _note(site: SiteConfig, event: Event, facts: log.Facts) -> None:
    logger.warning("%s: entry %s of the log", event, facts["entries"])
    log.note_news(site.state_path, event, actor=log.COORDINATOR, facts=facts)


def _replaced(lost: list[LogWitness], chain: Chain) -> str:
    first, last = lost[0], lost[-1]
    when = datetime.fromtimestamp(first.seconds, UTC).strftime("%Y-%m-%d %H:%M")
    return (
        f"this log was replaced or cut: the coordinator witnessed its entry {first.count} (head {first.digest[:16]}) on "
        f"{when} UTC, in all {len(lost)} states up to entry {last.count}, and the log here, of {chain.head.count} entries, "
        "does not hold them. The data-protection officer finds out who put it there; the hospital's IT restores the newest "
        "backup. Only if there is none, the data-protection officer answers for the loss: `fedcxr hospital audit accept-loss`"
    )
