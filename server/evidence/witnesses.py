"""What the coordinator saw of every hospital's log of evidence, signed by the study authority; nothing of it is ever lost.

One chain per hospital, in `STATE/witnessed`. A log that was put in the place of another does not hold what stands here,
whatever else its hospital lost or removed.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from federation.log_witness import LogWitness, SignedHead, WitnessInvalid, witness_of
from privacy.ledger.chain import ChainDamaged, read_chain
from privacy.ledger.chain_writer import ChainDisturbed, ChainInUse, open_chain
from server.enrolment.authority import Authority, study_authority

logger = logging.getLogger(__name__)

FOLDER = "witnessed"
PATIENCE_SECONDS = 20.0
UNUSABLE = (ChainDamaged, ChainDisturbed, ChainInUse, WitnessInvalid)


class NothingWitnessed(LookupError):
    """A hospital of whose log nothing came yet."""

    def __init__(self, site: str) -> None:
        super().__init__(
            f"no answer of {site} has come here yet, so nothing of its log is witnessed: `fedcxr coordinator roster` shows "
            "how the hospitals are called, and the first round makes the first witness"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Witnesses:
    """Keeps what hospitals say of their logs."""

    state_path: Path
    authority: Authority

    def of(self, site: str) -> tuple[LogWitness, ...]:
        """Everything that was witnessed of a hospital's log, oldest first.

        Raises:
            ChainDamaged: it is not as it was written.
        """
        return witnessed(self.state_path, site)

    def last(self, site: str) -> LogWitness | None:
        """The last that was witnessed of a hospital's log, signed by the authority of today; None if nothing can be read."""
        try:
            found = self.of(site)
        except UNUSABLE as err:
            logger.error("%s", err)  # noqa: TRY400  its sentence says everything
            return None
        return self._signed(found[-1]) if found else None

    def hear(
        self,
        site: str,
        said: SignedHead,
        *,
        key: bytes | None,
        study_digest: str,
        round_number: int,
    ) -> None:
        """Keep what came from a hospital if the hospital said it; a study never waits for that.

        Args:
            site: Whose log it is.
            said: What came with its answer.
            key: The public key (PEM) that the roster has for it; None where there is no roster.
            study_digest: Of the study that it answered.
            round_number: Of the round that it answered.
        """
        if key is not None and not said.is_signed_by(key, site_name=site):
            logger.warning("%s: what came as the head of its log is not signed by it", site)
            return
        try:
            self.keep(site, said, study_digest=study_digest, round_number=round_number)
        except UNUSABLE as err:
            logger.error("%s", err)  # noqa: TRY400  its sentence says everything

    def keep(self, site: str, said: SignedHead, *, study_digest: str, round_number: int) -> None:
        """Sign what a hospital said of its log, and keep it, unless it is what it said last.

        Raises:
            ChainDamaged: what was kept before is not as it was written.
            ChainInUse: another process keeps it for very long.
            WitnessInvalid: a newer release wrote what was kept before.
        """
        witness = LogWitness(
            site_name=site,
            count=said.head.count,
            digest=said.head.digest,
            head_signature=said.signature,
            study_digest=study_digest,
            round_number=round_number,
            seconds=int(time.time()),
        )
        with open_chain(_path(self.state_path, site), patience_seconds=PATIENCE_SECONDS) as writer:
            before = [witness_of(each) for each in writer.chain.records[-1:]]
            if before and before[0].head == said.head:
                return
            writer.append(asdict(self._signed(witness)))
        for earlier in before:
            if earlier.count >= witness.count:
                logger.warning("%s", went_back(earlier, witness))

    def _signed(self, witness: LogWitness) -> LogWitness:
        return replace(witness, signature=self.authority.sign(witness.signed_bytes).hex())


def witnesses_of(state_path: Path) -> Witnesses:
    """Of the coordinator with this state folder."""
    return Witnesses(state_path=state_path, authority=study_authority(state_path))


def witnessed(state_path: Path, site: str) -> tuple[LogWitness, ...]:
    """Everything that a coordinator witnessed of a hospital's log, oldest first; nothing is made for it.

    Raises:
        ChainDamaged: it is not as it was written.
    """
    path = _path(state_path, site)
    return tuple(map(witness_of, read_chain(path).records)) if path.exists() else ()


def breaks(found: tuple[LogWitness, ...]) -> Iterator[str]:
    """Every time that a hospital's log had lost entries, a sentence each."""
    for earlier, later in pairwise(found):
        if earlier.count >= later.count:
            yield went_back(earlier, later)


def went_back(earlier: LogWitness, later: LogWitness) -> str:
    """That a log is not the one that was witnessed before."""
    return (
        f"{later.site_name}: its log had {later.count} entries in round {later.round_number}, and {earlier.count} had been "
        "witnessed before: an older copy or another log was put in its place. Its data-protection officer finds out "
        "what happened"
    )


def _path(state_path: Path, site: str) -> Path:
    return state_path / FOLDER / f"{site}.jsonl"
