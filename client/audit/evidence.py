"""Everything an audit gathered, before it is judged; what could not be tried stands there with the reason."""

from dataclasses import dataclass

from client.audit.claim import Promise
from client.audit.reading_back import ReadBack
from client.audit.repeating import Repeated
from client.audit.sent import SentRound
from privacy.audit.canaries import Rehearsal
from privacy.audit.membership import Membership


@dataclass(frozen=True, kw_only=True, slots=True)
class NotRun:
    """An attack that was not tried."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Of one model at one hospital."""

    promise: Promise
    num_training_patients: int
    sent: tuple[SentRound, ...]
    rehearsal: Rehearsal | NotRun
    membership: Membership | NotRun
    repeated: Repeated | NotRun
    read_back: ReadBack | NotRun

    @property
    def is_private(self) -> bool:
        """Whether this study was trained with differential privacy, by the ledger."""
        claim = self.promise.claim
        return claim is not None and claim.study_epsilon is not None
