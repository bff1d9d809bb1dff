"""Notes and receipts, made by processes that are killed: the n-th at its n-th call that changes a file.

Each has a folder of its own, in which a second process then goes on. Prints a line per pair: how the first ended, how
many changes left by the log and by the receipts in the end, and what was wrong with the evidence after either.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.evidence import log
from client.evidence.check import check
from client.evidence.receipts import Receipt, issue, kept_receipts
from federation.node_keys import make_node_key

CALLS = ("write", "fsync", "ftruncate", "rename", "replace")
NEVER = -1


def killing(real: Callable[..., Any], due: list[int]) -> Callable[..., Any]:
    """The same call, and before it perhaps the end."""

    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        due[0] -= 1
        if due[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    return call


def work(state: Path) -> None:
    """What a round does for its evidence."""
    log.note_news(state, "change-made", actor="program", facts={"round": 1})
    receipt = Receipt(
        site_name="north",
        study_name="toy",
        study_digest="ef" * 32,
        plan_digest="",
        round_number=1,
        received_digest="12" * 32,
        parcel_digest="56" * 32,
        encoding="fp32",
        tensors={"a": (2,)},
        shards=("cd" * 32,),
        num_bytes=8,
        norm=1.0,
        numbers={},
        epsilon=None,
        ledger=None,
        log=log.head(state),
        seconds=1,
        release="0",
    )
    issue(state, receipt, make_node_key(state, "north"))


def ending(state: Path, kill_at: int) -> int:
    """How a process ends that is killed at a call; 0 if it got through."""
    process = os.fork()
    if process == 0:
        due = [kill_at]
        for name in CALLS:
            setattr(os, name, killing(getattr(os, name), due))
        work(state)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """In the folder that is given."""
    for number in itertools.count(1):
        state = Path(sys.argv[1]) / str(number)
        make_node_key(state, "north")
        code, problems = ending(state, number), list(check(state).problems)
        if ending(state, NEVER):
            problems.append("the second process failed")
        problems += check(state).problems
        left = sum(entry.event == "change-left" for entry in log.entries(state))
        receipts = sum(not kept.is_draft for kept in kept_receipts(state))
        sys.stdout.write(f"{code} {left} {receipts} {' | '.join(problems)}\n")
        if code != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main()
