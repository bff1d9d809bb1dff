"""Training that ends between two steps when the hospital takes no part any more.

What it made until then is thrown away: nothing of it was sent, and what the round was charged with is not charged again
when it is trained anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim.optimizer import register_optimizer_step_pre_hook

from client.control.gate import Gate


@contextmanager
def interruptible(gate: Gate, study_digest: str) -> Iterator[None]:
    """Look at the gate before every step of any optimizer of this process.

    Raises:
        NotTaken: the gate is closed.
    """

    def look(*_: object) -> None:
        gate.require_open(study_digest)

    look()
    handle = register_optimizer_step_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
