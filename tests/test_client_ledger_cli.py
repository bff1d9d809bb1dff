"""`fedcxr hospital ledger`: what was spent on what, what is left, and whether the ledger is whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.privacy_policy import ledger_of, load_policy
from privacy.accounting.epsilon import epsilon
from privacy.accounting.phase import Phase
from privacy.ledger.ledger import round_key
from privacy.ledger.witness import Receipt, sign_receipt

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
STUDY = "ab" * 32
PHASE = Phase(noise_multiplier=1.0, sample_rate=0.02, num_steps=50)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PROFILE = """\
site_name: north
coordinator: "localhost:1"
ca_path: ca.crt
data_path: data
state_path: state
image_size: 32
privacy_path: policy.yaml
"""
POLICY = """\
data_set: archive
max_epsilon: 8.0
delta: 1.0e-5
min_noise_multiplier: 0.5
max_sample_rate: 0.1
max_local_steps: 50
"""
MEANING = "(delta 1e-05, for adding or removing one patient)"


@pytest.fixture
def profile(memory_path: Path) -> Path:
    """A hospital that has trained two rounds, of which one is witnessed, and began a third."""
    path = memory_path / "site.yaml"
    path.write_text(PROFILE)
    (memory_path / "policy.yaml").write_text(POLICY)
    with ledger_of(load_policy(memory_path / "policy.yaml")) as ledger:
        for number in (1, 2):
            ledger.reserve(round_key(STUDY, number), PHASE, study_digest=STUDY)
            ledger.settle(round_key(STUDY, number), num_steps=50, released=str(number) * 64)
        plain = Receipt(
            head=ledger.head,
            study_digest=STUDY,
            round_number=2,
            site_name="north",
            witness="coordinator",
            seconds=1_800_000_000,
        )
        ledger.keep(sign_receipt(plain, KEY), KEY.public_key(), site_name="north")
        ledger.reserve(round_key(STUDY, 3), PHASE, study_digest=STUDY)
        ledger.charge("counts 1234", 0.5)
    return path


def test_the_table_shows_every_charge_and_the_totals_say_what_epsilon_means(
    fedcxr: Command, profile: Path
) -> None:
    code, out, err = fedcxr("hospital", "ledger", profile)
    assert (code, err) == (0, "")
    heading, *rows = out.partition("\n\n")[0].splitlines()
    assert heading.split("  ")[0] == "when (UTC)"
    after = [epsilon([PHASE] * number, 1e-5).value for number in (1, 2, 3)]
    for number, row in enumerate(rows[:3], start=1):
        assert f"abababababab  round 0000{number}  50 steps, noise 1, rate 0.02" in row
        assert row.endswith(f"{after[number - 1]:.2f}")
    assert ["settled" in row for row in rows] == [True, True, False, False]
    assert "counts 1234" in rows[3]
    assert "epsilon 0.5, no delta" in rows[3]
    spent = after[2] + 0.5
    assert f"archive: epsilon {spent:.2f} of at most 8.00, {8 - spent:.2f} is left {MEANING}" in out
    assert "receipts: 1, the last for record 5, signed by coordinator on 2027-01-15 08:00:00" in out


def test_a_program_gets_the_same_as_one_object(fedcxr: Command, profile: Path) -> None:
    code, out, err = fedcxr("hospital", "ledger", profile, "--json")
    (line,) = out.splitlines()
    facts = json.loads(line)
    assert (code, err) == (0, "")
    assert facts["epsilon"] == pytest.approx(epsilon([PHASE] * 3, 1e-5).value + 0.5)
    assert facts["left"] == pytest.approx(facts["cap"] - facts["epsilon"])
    assert (facts["delta"], facts["adjacency"]) == (1e-5, "adding or removing one patient")
    assert [charge["state"] for charge in facts["charges"]] == ["settled"] * 2 + ["reserved"] * 2
    assert facts["charges"][0]["phase"] == {
        "noise_multiplier": 1.0,
        "sample_rate": 0.02,
        "num_steps": 50,
    }
    assert facts["charges"][3]["epsilon_without_delta"] == 0.5
    assert (facts["count"], facts["receipts"][0]["count"], facts["torn"]) == (7, 5, False)


def test_a_whole_ledger_is_said_to_be_whole(fedcxr: Command, profile: Path) -> None:
    code, out, _ = fedcxr("hospital", "ledger", profile, "--verify")
    assert code == 0
    assert out == (
        "archive: the ledger is whole, 7 records; it holds every head that was witnessed, 1 receipts\n"
    )


@pytest.mark.parametrize("options", [[], ["--verify"], ["--verify", "--json"], ["--json"]])
@pytest.mark.parametrize("damage", ["changed", "put back"])
def test_a_ledger_that_is_not_is_shown_as_such_alone(
    fedcxr: Command, profile: Path, options: list[str], damage: str
) -> None:
    path = profile.parent / "privacy.ledger"
    content = path.read_bytes()
    end = content.index(b"\n") + 1
    path.write_bytes(content[:end] if damage == "put back" else content[:90] + b"0" + content[91:])
    code, out, _ = fedcxr("hospital", "ledger", profile, *options)
    assert code == 1
    expected = (
        "is not the ledger that was witnessed" if damage == "put back" else "is damaged at record 1"
    )
    assert expected in out
    assert len(out.splitlines()) == 1
    if "--json" in options:
        assert json.loads(out)["sound"] is False


def test_it_is_shown_while_a_training_has_it_open_and_writes(
    fedcxr: Command, profile: Path
) -> None:
    policy = load_policy(profile.parent / "policy.yaml")
    with ledger_of(policy), policy.ledger_path.open("ab") as half:
        half.write(b'{"digest":"ab')
        half.flush()
        code, out, err = fedcxr("hospital", "ledger", profile)
        assert (code, err) == (0, "")
        assert "its last line is unfinished: somebody writes now, or was killed; no harm" in out


def test_a_higher_cap_in_the_policy_is_said_to_change_nothing(
    fedcxr: Command, profile: Path
) -> None:
    policy = profile.parent / "policy.yaml"
    policy.write_text(POLICY.replace("8.0", "20.0"))
    with ledger_of(load_policy(policy)) as ledger:
        assert ledger.cap == 8.0
    _, out, _ = fedcxr("hospital", "ledger", profile)
    assert "of at most 8.00" in out
    assert "max_epsilon 20.00 changes nothing: the ledger's cap of 8.00 can only fall" in out


def test_a_policy_that_is_not_the_ledgers_is_named(fedcxr: Command, profile: Path) -> None:
    (profile.parent / "policy.yaml").write_text(POLICY.replace("1.0e-5", "1.0e-3"))
    code, out, _ = fedcxr("hospital", "ledger", profile)
    assert code == 1
    assert "was opened with delta 1e-05, which never changes" in out


def test_a_data_set_that_never_trained_has_spent_nothing(fedcxr: Command, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(PROFILE)
    (tmp_path / "policy.yaml").write_text(POLICY)
    code, out, _ = fedcxr("hospital", "ledger", tmp_path / "site.yaml")
    assert code == 0
    assert f"archive: epsilon 0.00 of at most 8.00, 8.00 is left {MEANING}" in out
    assert not (tmp_path / "privacy.ledger").exists()


def test_a_hospital_without_a_policy_is_told_who_writes_one(
    refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text(PROFILE.replace("privacy_path: policy.yaml\n", ""))
    message = refused("hospital", "ledger", tmp_path / "site.yaml")
    assert "names no privacy policy" in message
    assert "sets privacy_path to it" in message
