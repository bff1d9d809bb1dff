"""Why a hospital does not take an instruction."""

import errno

from federation.messages import Refusal, RefusalCode


class NotTaken(RuntimeError):
    """This hospital cannot take the instruction, for a reason whose words are our own."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code=code, reason=reason)


def disk_refusal(err: Exception) -> Refusal | None:
    """The reason for an answer that could not be written down here, if it is one that somebody can do away with."""
    if not isinstance(err, OSError):
        return None
    if err.errno in {errno.ENOSPC, errno.EDQUOT}:
        reason = "the disk under this hospital's state_path is full: the data manager should free some room"
        return Refusal(code=RefusalCode.DISK, reason=reason)
    if err.errno == errno.EROFS:
        reason = (
            "this hospital's state_path is on a disk that cannot be written: whoever keeps that machine has to mount it "
            "writable"
        )
        return Refusal(code=RefusalCode.DISK, reason=reason)
    return None
