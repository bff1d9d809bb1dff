"""The hospital's log and its receipts: what is noted stays, what leaves has a receipt, and a change to either shows."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from client.evidence import log
from client.evidence.check import check
from client.evidence.log import Event, LogUnreadable, log_path, note, note_news
from client.evidence.receipts import Receipt, issue, path_of, read, receipt_of
from federation.messages import Update
from federation.node_keys import NodeKey, make_node_key
from federation.parcel import Parcel
from privacy.ledger.chain import ChainDamaged, Head
from privacy.ledger.chain_writer import open_chain

Typed = tuple[int, str, str]
PLAN = "ab" * 32


@pytest.fixture
def state(memory_path: Path) -> Path:
    return memory_path / "state"


@pytest.fixture
def key(state: Path) -> NodeKey:
    return make_node_key(state, "north")


def update(number: int = 1, *, digest: str = "cd" * 32, loss: float = 0.5) -> Update:
    """A change of two tensors in one shard; its values are nowhere."""
    shapes: dict[str, tuple[int, ...]] = {"a": (2, 3), "b": (4,)}
    return Update(
        study_digest="ef" * 32,
        round_number=number,
        received_digest="12" * 32,
        change=Parcel(shapes=shapes, encoding="fp32", digests=(digest,)),
        norm=1.5,
        num_steps=3,
        loss=loss,
        held_out_loss=float("nan"),
        seconds=2.0,
        num_records=0,
        num_files=0,
        ledger=Head(count=2, digest="34" * 32),
    )


def receipt(state: Path, number: int = 1) -> Receipt:
    return receipt_of(
        update(number),
        site_name="north",
        study_name="toy",
        plan=PLAN,
        epsilon=1.25,
        log_head=log.head(state),
    )


def test_the_log_says_who_did_what_under_which_plan(state: Path) -> None:
    note(state, "joined", actor="Dr Ann Noe")
    note(
        state, Event.ROUND_ASKED, actor="coordinator", plan=PLAN, facts={"round": 1, "late": False}
    )
    first, second = log.entries(state)
    assert (first.number, first.event, first.actor, first.plan) == (1, "joined", "Dr Ann Noe", "")
    assert (second.event, second.plan, second.facts) == (
        "round-asked",
        PLAN,
        {"round": 1, "late": False},
    )
    assert log.verify(state) == ()


@pytest.mark.parametrize(
    ("event", "actor", "facts"),
    [
        ("bribed", "x", {}),
        ("paused", "", {}),
        ("paused", "two\nlines", {}),
        ("paused", "x", {"Name": 1}),
        ("paused", "x", {"why": "y" * 301}),
        ("paused", "x", {"why": ["a"]}),
    ],
)
def test_only_short_plain_things_of_a_closed_list_are_noted(
    state: Path, event: str, actor: str, facts: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"log|event"):
        note(state, event, actor=actor, facts=facts)
    assert log.entries(state) == ()


def test_what_is_asked_again_and_again_is_noted_once(state: Path) -> None:
    asked = {"actor": "coordinator", "facts": {"round": 1}}
    assert note_news(state, "round-asked", **asked)  # type: ignore[arg-type]
    note(state, "paused", actor="someone")
    assert not note_news(state, "round-asked", **asked)  # type: ignore[arg-type]
    assert note_news(state, "round-asked", actor="coordinator", facts={"round": 2})
    assert note_news(state, "round-asked", **asked)  # type: ignore[arg-type]
    assert len(log.entries(state)) == 4


def test_several_may_note_at_a_time_and_nothing_is_lost(state: Path) -> None:
    def work(name: str) -> None:
        for number in range(5):
            note(state, "ingested", actor=name, facts={"number": number})

    workers = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = log.entries(state)
    assert log.verify(state) == ()
    assert sorted((each.actor, each.facts["number"]) for each in found) == [
        (name, number) for name in "abc" for number in range(5)
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("mallory", "alice  "),
        lambda text: text.split("\n", 1)[1],
        lambda text: "\n".join([text.split("\n")[1], text.split("\n")[0], *text.split("\n")[2:]]),
    ],
    ids=["another-actor", "first-entry-gone", "entries-moved"],
)
def test_a_changed_log_is_noticed_and_nothing_more_is_noted(
    state: Path, damage: Callable[[str], str]
) -> None:
    for actor in ("bob", "mallory", "carol"):
        note(state, "paused", actor=actor)
    path = log_path(state)
    path.write_text(damage(path.read_text()))
    (problem,) = log.verify(state)
    assert "damaged at record" in problem
    with pytest.raises(ChainDamaged):
        note(state, "resumed", actor="bob")


def test_an_event_of_a_newer_release_is_no_damage(state: Path) -> None:
    with open_chain(log_path(state)) as writer:
        writer.append({"event": "beamed", "actor": "x", "plan": "", "facts": {}, "time": 1})
    with pytest.raises(LogUnreadable, match="newer release"):
        log.entries(state)


def test_a_log_survives_a_kill_in_any_write(state: Path) -> None:
    """The process dies in the middle of a line; what it had noted before is there, and the next one goes on."""
    killed = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from client.evidence.log import note
        from privacy.ledger import chain_writer

        real = chain_writer._write

        def half(descriptor, content):
            real(descriptor, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        state = Path({str(state)!r})
        note(state, "node-started", actor="program")
        chain_writer._write = half
        note(state, "node-stopped", actor="program")
    """)
    died = subprocess.run([sys.executable, "-c", killed], check=False)
    assert died.returncode == -signal.SIGKILL
    assert log_path(state).read_bytes()[-1:] != b"\n"
    assert [each.event for each in log.entries(state)] == ["node-started"]
    note(state, "node-started", actor="program", facts={"again": True})
    assert [each.number for each in log.entries(state)] == [1, 2]
    assert log.verify(state) == ()


def test_a_receipt_names_every_tensor_byte_and_cost_and_is_signed(
    state: Path, key: NodeKey
) -> None:
    note(state, "change-made", actor="program")
    kept = issue(state, receipt(state), key)
    said = kept.receipt
    assert said.tensors == {"a": (2, 3), "b": (4,)}
    assert (said.num_bytes, said.norm, said.epsilon, said.shards) == (40, 1.5, 1.25, ("cd" * 32,))
    assert said.numbers == {"num_steps": 3.0, "loss": 0.5, "seconds": 2.0}
    assert kept.is_signed()
    assert log.entries(state)[-1].event is Event.CHANGE_LEFT
    assert log.entries(state)[-1].facts["receipt"] == kept.digest
    assert check(state).problems == ()


def test_a_change_has_one_receipt_however_often_it_is_sent(state: Path, key: NodeKey) -> None:
    first = issue(state, receipt(state), key)
    assert issue(state, receipt(state), key) == first
    assert len(log.entries(state)) == 1


@pytest.mark.parametrize("moment", ["draft", "noted"])
def test_a_receipt_is_whole_after_a_kill_at_any_moment(
    state: Path, key: NodeKey, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    where = "client.evidence.receipts._note" if moment == "draft" else "pathlib.Path.rename"
    with monkeypatch.context() as patch:
        patch.setattr(where, die)
        with pytest.raises(Killed):
            issue(state, receipt(state), key)
    assert check(state).problems == ()  # what was cut short is no fraud
    kept = issue(state, receipt(state), key)
    assert not kept.is_draft
    assert len(log.entries(state)) == 1
    assert check(state).problems == ()


def test_a_process_killed_over_its_evidence_leaves_it_sound(state: Path) -> None:
    root = Path(__file__).parent.parent
    said = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed_evidence", str(state)],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).stdout.splitlines()
    assert [line.split(" ", 1)[0] for line in said] == ["-9"] * (len(said) - 1) + ["0"]
    assert {line.split(" ", 1)[1] for line in said} == {
        "1 1 1 1 "
    }  # one entry, one receipt, one witness at either side, no problem
    assert len(said) > 10


def forge(path: Path) -> None:
    """Say that less left, in a file that is a receipt still."""
    content = json.loads(path.read_text())
    content["receipt"]["num_bytes"] = 4
    path.write_text(json.dumps(content))


def sign_anew(path: Path) -> None:
    """The same lie, signed by a key of one's own."""
    kept = read(path)
    other = make_node_key(path.parent / "mallory", "north")
    path.unlink()
    issue(path.parent / "elsewhere", kept.receipt, other)
    path_of(path.parent / "elsewhere", kept.receipt).rename(path)


def cut_log(path: Path) -> None:
    """Take the newest entry away, as who wants to forget that something left would."""
    there = log_path(path.parent.parent.parent)
    there.write_bytes(b"".join(there.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("fraud", "complaint"),
    [
        (forge, "not what this hospital signed"),
        (sign_anew, "another key"),
        (cut_log, "not in the log"),
        (Path.unlink, "no such receipt"),
        (lambda path: path.write_text("{}"), "not a receipt"),
    ],
    ids=["forged", "signed-anew", "log-cut", "removed", "emptied"],
)
def test_whoever_hides_what_left_is_found_out(
    state: Path, key: NodeKey, fraud: Callable[[Path], None], complaint: str
) -> None:
    note(state, "change-made", actor="program")
    kept = issue(state, receipt(state), key)
    fraud(kept.path)
    assert any(complaint in problem for problem in check(state).problems)


def test_an_older_log_does_not_hold_what_later_receipts_saw(state: Path, key: NodeKey) -> None:
    old = log_path(state)
    issue(state, receipt(state, 1), key)
    before = old.read_bytes()
    issue(state, receipt(state, 2), key)
    old.write_bytes(before)
    note(state, "paused", actor="mallory")  # the forger goes on from the old copy
    assert any("not in the log" in problem for problem in check(state).problems)


@pytest.fixture
def profile(state: Path) -> Path:
    path = state.parent / "site.yaml"
    content = {
        "site_name": "north",
        "coordinator": "localhost:1",
        "ca_path": "ca.crt",
        "data_path": "data",
        "state_path": str(state),
        "image_size": 16,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_commands_show_the_evidence_and_its_state(
    fedcxr: Callable[..., Typed], profile: Path, state: Path, key: NodeKey
) -> None:
    assert fedcxr("hospital", "audit", "log", profile)[:2] == (0, "north: nothing happened yet\n")
    kept = issue(state, receipt(state), key)
    code, out, _ = fedcxr("hospital", "audit", "receipts", profile)
    assert code == 0
    assert "toy round 1: 2 tensors, 40 bytes, norm 1.5, epsilon 1.25" in out
    facts = json.loads(fedcxr("hospital", "audit", "receipts", profile, "--json")[1])
    assert facts["receipts"][0]["receipt"] == kept.digest
    entries = json.loads(fedcxr("hospital", "audit", "log", profile, "--json")[1])["entries"]
    assert [entry["event"] for entry in entries] == ["change-left"]
    assert fedcxr("hospital", "audit", "verify", profile)[0] == 0


def test_an_old_copy_of_all_evidence_is_noticed_by_a_head_that_was_written_down(
    fedcxr: Callable[..., Typed], profile: Path, state: Path
) -> None:
    note(state, "joined", actor="someone")
    old = log_path(state).read_bytes()
    note(state, "paused", actor="someone")
    head = json.loads(fedcxr("hospital", "audit", "verify", profile, "--json")[1])["head"]
    note(state, "resumed", actor="someone")
    assert fedcxr("hospital", "audit", "verify", profile, "--head", head)[0] == 0
    log_path(state).write_bytes(old)
    assert fedcxr("hospital", "audit", "verify", profile)[0] == 0
    code, out, _ = fedcxr("hospital", "audit", "verify", profile, "--head", head)
    assert code == 1
    assert "an older copy was put back" in out


def test_a_check_of_damaged_evidence_ends_with_exit_code_1(
    fedcxr: Callable[..., Typed], profile: Path, state: Path, key: NodeKey
) -> None:
    kept = issue(state, receipt(state), key)
    kept.path.unlink()
    code, out, _ = fedcxr("hospital", "audit", "verify", profile, "--json")
    assert code == 1
    assert not json.loads(out)["sound"]
