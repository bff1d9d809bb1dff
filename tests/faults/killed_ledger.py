"""Kills a hospital at one instant of a private round after another, and looks at its ledger: a program of its own, as it forks.

Called with a folder, how many kills at random moments, and the seed of those moments. A hospital opens the ledger, reserves, begins
to train, keeps an update of noise, settles and sends, round after round; a kept update is sent again instead. An instant is the moment
before a system call on its files, or the middle of a write. Beside kills there are power cuts, which also take what was written but not
synchronised. What a hospital did that cannot be taken back, to begin training and to send, is noted outside its
files. Prints a line per way of dying, and how many deaths there were.

The accountant is one that adds up steps: the true one comes with torch, which makes a process slow to start and to fork.
"""

import json
import os
import random
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any


def stand_in(module: str, **content: object) -> None:
    """Have an import give this instead."""
    sys.modules[module] = ModuleType(module)
    vars(sys.modules[module]).update(content)


def added_up(phases: Any, _delta: float) -> float:  # noqa: ANN401
    """A hundredth per step."""
    return float(sum(phase.num_steps for phase in phases) / 100)


stand_in("privacy.accounting.prv", prv_epsilon=added_up)
stand_in("privacy.accounting.rdp", rdp_epsilon=added_up)

from federation.files import write_file  # noqa: E402
from privacy.accounting.phase import Phase  # noqa: E402
from privacy.ledger.book import Book  # noqa: E402
from privacy.ledger.ledger import open_ledger, round_key  # noqa: E402
from privacy.ledger.verification import problems_of, read_statement  # noqa: E402
from tests.faults.mortal import dies_after, mortal  # noqa: E402

STUDY = "ab" * 32
PHASE = Phase(noise_multiplier=2.0, sample_rate=0.01, num_steps=10)
OWNER: dict[str, Any] = {"data_set": "archive", "delta": 1e-5}
NUM_ROUNDS, NUM_RANDOM_ROUNDS = 3, 8
CALLS = ("open", "write", "fsync", "ftruncate", "replace", "rename", "unlink", "close")
REAL = {name: getattr(os, name) for name in CALLS}


class Notes:
    """What happened outside the hospital: lines in a file that no death takes back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, *words: object) -> None:
        """One line, in one call."""
        descriptor = REAL["open"](self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        REAL["write"](descriptor, ("\t".join(map(str, words)) + "\n").encode())
        REAL["close"](descriptor)

    def all(self, kind: str) -> list[list[str]]:
        """The words of every line of a kind."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [line.split("\t")[1:] for line in lines if line.split("\t")[0] == kind]


class Durable:
    """What a power cut leaves of a folder: synchronised names, and each file's synchronised length."""

    def __init__(self, folder: Path, memory: Path) -> None:
        self.folder, self.memory = folder, memory
        known = json.loads(memory.read_text()) if memory.exists() else {"names": [], "sizes": {}}
        self.names, self.sizes = set(known["names"]), dict(known["sizes"])

    def synced(self, descriptor: int) -> None:
        """A file or the folder itself was brought to the disk."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path == self.folder:
            self.names = {each.name for each in path.iterdir()}
        else:
            self.sizes[str(os.fstat(descriptor).st_ino)] = os.fstat(descriptor).st_size

    def remember(self) -> None:
        """For the next life."""
        self.memory.write_text(json.dumps({"names": sorted(self.names), "sizes": self.sizes}))

    def cut(self) -> None:
        """Lose everything else."""
        for path in self.folder.iterdir():
            size = self.sizes.get(str(path.stat().st_ino), 0)
            if path.name not in self.names:
                REAL["unlink"](path)
            elif path.stat().st_size > size:
                os.truncate(path, size)


def instrument(instant: Callable[[], None], durable: Durable) -> None:
    """Have every system call on a file of this process pass an instant first."""
    calls = {name: mortal(real, instant) for name, real in REAL.items()}

    def in_halves(descriptor: int, content: bytes) -> int:
        half = len(content) // 2
        halves = (bytes(content)[:half], bytes(content)[half:])
        return sum(calls["write"](descriptor, each) for each in halves)

    def for_good(descriptor: int) -> None:
        calls["fsync"](descriptor)
        durable.synced(descriptor)

    for name, call in {**calls, "write": in_halves, "fsync": for_good}.items():
        setattr(os, name, call)


def die_at(number: int, folder: Path, *, power_cut: bool) -> None:
    """Have this process end at an instant; all instants are counted if it lives."""
    durable = Durable(folder, folder.parent / "durable.json")

    def last() -> None:
        if power_cut:
            durable.cut()
        durable.remember()

    instrument(dies_after(number, last=last), durable)


def take_part(folder: Path, notes: Notes, num_rounds: int) -> None:
    """A hospital's rounds, from wherever it was."""
    for number in range(1, num_rounds + 1):
        key, kept = round_key(STUDY, number), folder / f"update-{number}"
        with open_ledger(folder / "ledger", cap=8.0, **OWNER) as ledger:
            if not kept.exists():
                ledger.reserve(key, PHASE, study_digest=STUDY)
                notes.add("began", key)
                write_file(kept, secrets.token_hex(32).encode())
            update = kept.read_text()
            ledger.settle(key, num_steps=PHASE.num_steps, released=update)
            notes.add("sent", key, update)


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own; gives what it returned to the system."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as err:  # noqa: BLE001  the parent has to hear of it
            sys.stderr.write(f"{type(err).__name__}: {err}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def book_of(folder: Path) -> Book | None:
    """What the ledger says after a death."""
    problems = problems_of(folder / "ledger", **OWNER)
    if problems:
        raise AssertionError(problems)
    return read_statement(folder / "ledger").book


def check(folder: Path, notes: Notes, *, before: float = 0.0) -> float:
    """Hold the ledger against what happened; gives epsilon, which is never below what it was before."""
    book = book_of(folder)
    charges = {} if book is None else dict(book.charges)
    began = {key for (key,) in notes.all("began")}
    missing = began - charges.keys()
    assert not missing, f"trained without a charge: {missing}"
    sent: dict[str, str] = {}
    for key, update in notes.all("sent"):
        assert sent.setdefault(key, update) == update, f"two updates for one charge: {key}"
        assert charges[key].released == update, f"sent without being settled: {key}"
    spent = 0.0 if book is None else book.spent
    assert spent >= before, f"epsilon fell from {before} to {spent}"
    return spent


def finish(folder: Path, notes: Notes, num_rounds: int) -> None:
    """Take part once more, undisturbed; every round is charged once and sent."""
    assert in_child(partial(take_part, folder, notes, num_rounds)) == 0
    check(folder, notes)
    book = book_of(folder)
    assert book is not None
    assert list(book.charges) == [round_key(STUDY, n) for n in range(1, num_rounds + 1)]
    assert {key for key, _ in notes.all("sent")} == set(book.charges)


def new_hospital(root: Path) -> tuple[Path, Notes]:
    """An empty folder, and the notes beside it."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "hospital").mkdir(parents=True)
    return root / "hospital", Notes(root / "notes")


def kill_at_every_instant(root: Path, *, power_cut: bool) -> int:
    """One life that ends at each instant, a second that ends at another, and a third that does not."""
    num_deaths = 0
    for number in count():
        folder, notes = new_hospital(root)
        cut_then = power_cut != bool(number % 2)
        if not live(folder, notes, number=number, power_cut=power_cut):
            finish(folder, notes, NUM_ROUNDS)
            break
        spent = check(folder, notes)
        num_deaths += 1 + live(folder, notes, number=number * 5 % 37, power_cut=cut_then)
        # What was written and not synchronised, a power cut takes; nobody had relied on it.
        check(folder, notes, before=0.0 if cut_then and not power_cut else spent)
        finish(folder, notes, NUM_ROUNDS)
    return num_deaths


def live(folder: Path, notes: Notes, *, number: int, power_cut: bool) -> bool:
    """A life that ends at an instant; False if there were not so many."""

    def life() -> None:
        die_at(number, folder, power_cut=power_cut)
        take_part(folder, notes, NUM_ROUNDS)

    code = in_child(life)
    assert code in {0, -signal.SIGKILL}, f"instant {number} ended with {code}"
    return code != 0


def kill_at_random(root: Path, num_kills: int, rng: random.Random) -> int:
    """One hospital after another, killed whenever it pleases somebody else."""
    folder, notes = new_hospital(root)
    num_deaths, before, rounds = 0, 0.0, NUM_RANDOM_ROUNDS
    while num_deaths < num_kills:
        child = os.fork()
        if child == 0:
            take_part(folder, notes, rounds)
            os._exit(0)
        time.sleep(rng.uniform(0.0, 0.012))
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, -signal.SIGKILL}
        num_deaths += code != 0
        before = check(folder, notes, before=before)
        if len(notes.all("sent")) and notes.all("sent")[-1][0] == round_key(STUDY, rounds):
            finish(folder, notes, rounds)
            folder, notes = new_hospital(root)
            before = 0.0
    finish(folder, notes, rounds)
    return num_deaths


def main(root: Path, num_kills: int, seed: int) -> None:
    """Die in every way."""
    for power_cut in (False, True):
        num_deaths = kill_at_every_instant(root / "instants", power_cut=power_cut)
        sys.stdout.write(f"{'power cut' if power_cut else 'killed'}: {num_deaths}\n")
    num_deaths = kill_at_random(root / "random", num_kills, random.Random(seed))  # noqa: S311
    sys.stdout.write(f"killed at random: {num_deaths}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
