"""Why a hospital does not take an instruction."""

from federation.messages import Refusal, RefusalCode


class NotTaken(RuntimeError):
    """This hospital cannot take the instruction, for a reason whose words are our own."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code=code, reason=reason)
