"""Notes, receipts and witnesses, made by processes that are killed: the n-th at its n-th call that changes a file.

Each has a folder of its own, in which a second process then goes on. Prints a line per pair: how the first ended, how
many changes left by the log and by the receipts in the end, how often the log was witnessed by the coordinator's record
and by the hospital's, and what was wrong with the evidence after either.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from client.evidence import log
from client.evidence.check import check
from client.evidence.receipts import Receipt, issue, kept_receipts
from client.evidence.witness import keep_witness, kept_witnesses
from federation.log_witness import sign_head
from federation.node_keys import make_node_key
from federation.signing import load_private
from server.evidence.witnesses import Witnesses, witnesses_of
from tests.faults.mortal import dies_after, mortal

CALLS = ("write", "fsync", "ftruncate", "rename", "replace")


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
    key = make_node_key(state, "north")
    issue(state, receipt, key)
    said = sign_head(log.settled_head(state), load_private(key.private_path), site_name="north")
    coordinator = coordinator_of(state)
    coordinator.keep("north", said, study_digest="ef" * 32, round_number=1)
    witness = coordinator.last("north")
    assert witness is not None
    keep_witness(state, witness, coordinator.authority.public)


def coordinator_of(state: Path) -> Witnesses:
    """The one that the hospital answers."""
    return witnesses_of(state / "coordinator")


def ending(state: Path, instant: Callable[[], None]) -> int:
    """How a process ends that has an instant before every call; 0 if it got through."""
    process = os.fork()
    if process == 0:
        for name in CALLS:
            setattr(os, name, mortal(getattr(os, name), instant))
        work(state)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """In the folder that is given."""
    for number in itertools.count(1):
        state = Path(sys.argv[1]) / str(number)
        make_node_key(state, "north")
        coordinator = coordinator_of(state)
        public = coordinator.authority.public
        code, problems = (
            ending(state, dies_after(number - 1)),
            list(check(state, authority=public).problems),
        )
        if ending(state, lambda: None):
            problems.append("the second process failed")
        problems += check(state, authority=public).problems
        left = sum(entry.event == "change-left" for entry in log.entries(state))
        receipts = sum(not kept.is_draft for kept in kept_receipts(state))
        seen = f"{len(coordinator.of('north'))} {len(kept_witnesses(state, public))}"
        sys.stdout.write(f"{code} {left} {receipts} {seen} {' | '.join(problems)}\n")
        if code != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main()
