"""What the coordinator witnessed of a hospital's log: another log in its place is found, and nobody can make a witness up."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from flwr.app import Context, Message, RecordDict

from client.app import app
from client.config import SiteConfig
from client.control.acts import pause
from client.evidence import log
from client.evidence.check import check
from client.evidence.log import Event, log_path, note
from client.evidence.witness import keep_witness, kept_witnesses, witness_path
from federation.log_witness import LogWitness, sign_head
from federation.messages import Answer, Instruction
from federation.node_keys import make_node_key, read_public_key
from federation.shipment import inline_shipment
from federation.signing import load_private
from federation.wire.rounds import pack_instruction, unpack_answer
from model.arrays import Arrays
from server.enrolment.authority import Authority, study_authority
from server.evidence.witnesses import Witnesses

pytestmark = pytest.mark.usefixtures("inside_a_flower_task", "outlives_its_parent")

Typed = tuple[int, str, str]
Fedcxr = Callable[..., Typed]


@pytest.fixture
def site(
    make_hospital: Callable[..., SiteConfig],
    joined: Callable[[SiteConfig], SiteConfig],
    memory_path: Path,
) -> SiteConfig:
    return joined(make_hospital(memory_path, num_records=4))


@pytest.fixture
def profile(site: SiteConfig) -> Path:
    names = ("site_name", "coordinator", "ca_path", "data_path", "state_path")
    paths = ("authority_path", "privacy_path")
    content = {name: str(getattr(site, name)) for name in (*names, *paths)}
    path = site.state_path.parent / "site.yaml"
    path.write_text(yaml.safe_dump(content | {"image_size": site.image_size}))
    return path


@pytest.fixture
def coordinator(memory_path: Path, authority: Authority) -> Witnesses:
    """With the authority that the hospital knows."""
    return Witnesses(state_path=memory_path / "coordinator", authority=authority)


@pytest.fixture
def asked(random_weights: Arrays) -> Instruction:
    """Refused, as it comes without a plan; what a hospital says of its log is the same."""
    return Instruction(study="{}", round_number=1, weights=inline_shipment(random_weights))


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """Rounds between the coordinator and the hospital's entry point."""

    site: SiteConfig
    profile: Path
    coordinator: Witnesses
    asked: Instruction

    def hears(self, number: int, witness: LogWitness | None) -> Answer:
        """What the hospital answers in a round that brings a witness."""
        instruction = replace(self.asked, round_number=number, log_witness=witness)
        context = Context(1, 7, {"site": str(self.profile)}, RecordDict(), {})
        return unpack_answer(
            app(Message(pack_instruction(instruction), 7, "train"), context).content
        )

    def round(self, number: int) -> LogWitness:
        """A round as it should be; what the coordinator witnessed with it."""
        name = self.site.site_name
        said = self.hears(number, self.coordinator.last(name)).log
        assert said is not None
        told = {"study_digest": self.asked.study_digest, "round_number": number}
        self.coordinator.hear(name, said, key=public_key(self.site), **told)  # type: ignore[arg-type]
        found = self.coordinator.last(name)
        assert found is not None
        return found


@pytest.fixture
def talk(site: SiteConfig, profile: Path, coordinator: Witnesses, asked: Instruction) -> Talk:
    return Talk(site=site, profile=profile, coordinator=coordinator, asked=asked)


def public_key(site: SiteConfig) -> bytes:
    return read_public_key(make_node_key(site.state_path, site.site_name).public_path)


def problems(site: SiteConfig, authority: Authority) -> tuple[str, ...]:
    return check(site.state_path, authority=authority.public).problems


def events(site: SiteConfig) -> list[str]:
    return [str(entry.event) for entry in log.entries(site.state_path)]


def test_the_head_of_the_log_leaves_with_an_answer_and_comes_back_signed(
    site: SiteConfig,
    authority: Authority,
    talk: Talk,
) -> None:
    first = talk.round(1)
    assert first.head == log.head(site.state_path)
    assert first.is_signed_by(authority.public)
    assert kept_witnesses(site.state_path, authority.public) == ()
    second = talk.round(2)
    assert kept_witnesses(site.state_path, authority.public) == (first,)
    talk.round(2)
    talk.round(2)  # the log has not grown: nothing new was witnessed
    assert kept_witnesses(site.state_path, authority.public) == (first, second)
    assert check(site.state_path, authority=authority.public).witnessed == second
    assert problems(site, authority) == ()


def cut(path: Path) -> None:
    """Forget the newest entry."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def replace_all(path: Path) -> None:
    """Another log, longer than the one before and sound in itself."""
    path.unlink()
    for number in range(9):
        note(path.parent.parent, "ingested", actor="mallory", facts={"number": number})


@pytest.mark.parametrize("fraud", [cut, replace_all])
def test_a_log_that_was_cut_or_replaced_is_found(
    site: SiteConfig,
    profile: Path,
    fedcxr: Fedcxr,
    talk: Talk,
    fraud: Callable[[Path], None],
) -> None:
    talk.round(1)
    last = talk.round(2)
    fraud(log_path(site.state_path))
    assert log.verify(site.state_path) == ()  # by itself it is sound
    talk.round(3)  # brings what was witnessed before the fraud
    code, out, _ = fedcxr("hospital", "audit", "verify", profile)
    assert code == 1
    assert "was replaced or cut" in out
    assert f"entry {last.count}" in out
    noted = [each for each in log.entries(site.state_path) if each.event == Event.LOG_REPLACED]
    assert [each.facts["head"] for each in noted] == [last.digest]


def test_an_old_copy_of_all_evidence_is_found_with_the_next_instruction(
    site: SiteConfig, authority: Authority, talk: Talk
) -> None:
    talk.round(1)
    folder = log_path(site.state_path).parent
    old = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    talk.round(2)
    talk.round(3)
    for path in [each for each in folder.iterdir() if each.is_file()]:
        path.unlink()
    for path, content in old.items():
        path.write_bytes(content)
    assert problems(site, authority) == ()
    talk.round(4)
    assert any("was replaced or cut" in problem for problem in problems(site, authority))


def stranger(
    witness: LogWitness, site: SiteConfig, folder: Path, authority: Authority
) -> LogWitness:
    """Signed by another authority."""
    del site, authority
    other = study_authority(folder / "stranger")
    return replace(witness, signature=other.sign(witness.signed_bytes).hex())


def moved(witness: LogWitness, site: SiteConfig, folder: Path, authority: Authority) -> LogWitness:
    """Says another number than was signed."""
    del site, folder, authority
    return replace(witness, count=witness.count + 7)


def made_up(
    witness: LogWitness, site: SiteConfig, folder: Path, authority: Authority
) -> LogWitness:
    """What the coordinator itself could make: a head that this hospital never said."""
    key = load_private(make_node_key(folder / "other", "a").private_path)
    head = replace(witness.head, count=witness.count + 7)
    said = sign_head(head, key, site_name=site.site_name)
    forged = replace(witness, count=head.count, head_signature=said.signature)
    return replace(forged, signature=authority.sign(forged.signed_bytes).hex())


def of_another(
    witness: LogWitness, site: SiteConfig, folder: Path, authority: Authority
) -> LogWitness:
    """Genuine, but another hospital's."""
    del site, folder
    forged = replace(witness, site_name="elsewhere")
    return replace(forged, signature=authority.sign(forged.signed_bytes).hex())


Forge = Callable[[LogWitness, SiteConfig, Path, Authority], LogWitness]


@pytest.mark.parametrize("forge", [stranger, moved, made_up, of_another])
def test_a_forged_witness_is_not_kept_and_the_log_shows_that_it_came(
    site: SiteConfig,
    authority: Authority,
    talk: Talk,
    forge: Forge,
    memory_path: Path,
) -> None:
    talk.hears(2, forge(talk.round(1), site, memory_path, authority))
    assert kept_witnesses(site.state_path, authority.public) == ()
    assert Event.WITNESS_REFUSED in events(site)
    assert Event.LOG_REPLACED not in events(site)
    assert problems(site, authority) == ()


def test_a_witness_that_was_put_among_those_kept_is_found(
    site: SiteConfig, authority: Authority, talk: Talk, memory_path: Path
) -> None:
    forged = stranger(talk.round(1), site, memory_path, authority)
    keep_witness(site.state_path, forged, authority.public)
    (problem,) = problems(site, authority)
    assert "not signed by the study authority" in problem
    path = witness_path(site.state_path, authority.public)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    (problem,) = problems(site, authority)
    assert "damaged at record 1" in problem


def test_a_hospital_that_cannot_read_its_log_answers_without_a_head(
    site: SiteConfig, talk: Talk
) -> None:
    witness = talk.round(1)
    path = log_path(site.state_path)
    path.write_bytes(path.read_bytes().replace(b"program", b"nobody "))
    assert talk.hears(1, witness).log is None


def test_a_head_that_the_hospital_did_not_sign_is_not_witnessed(
    site: SiteConfig, coordinator: Witnesses, memory_path: Path
) -> None:
    note(site.state_path, "joined", actor="x")
    key = load_private(make_node_key(memory_path / "other", "a").private_path)
    said = sign_head(log.head(site.state_path), key, site_name="a")
    own = load_private(make_node_key(site.state_path, "a").private_path)
    elsewhere = sign_head(log.head(site.state_path), own, site_name="elsewhere")
    assert not elsewhere.is_signed_by(public_key(site), site_name="a")
    for known in (public_key(site), None):
        coordinator.hear("a", said, key=known, study_digest="e" * 64, round_number=1)
        assert len(coordinator.of("a")) == (known is None)


def test_the_operator_reads_out_the_head_and_the_hospital_compares_it(
    site: SiteConfig,
    profile: Path,
    coordinator: Witnesses,
    fedcxr: Fedcxr,
    talk: Talk,
) -> None:
    state = coordinator.state_path
    last = talk.round(1)
    code, out, _ = fedcxr("coordinator", "witness", "a", "--state", state)
    assert code == 0
    assert last.digest in out
    read_out = last.digest[:16]
    assert fedcxr("hospital", "audit", "verify", profile, "--head", read_out)[0] == 0
    assert fedcxr("hospital", "audit", "verify", profile, "--head", read_out[:8])[0] == 1
    old = log_path(site.state_path).read_bytes()
    talk.round(2)
    log_path(site.state_path).write_bytes(old)
    later = coordinator.last("a")
    assert later is not None
    code, out, _ = fedcxr("hospital", "audit", "verify", profile, "--head", later.digest[:16])
    assert (code, "older copy" in out) == (1, True)


def test_the_coordinator_tells_that_a_log_had_lost_entries(
    site: SiteConfig, coordinator: Witnesses, fedcxr: Fedcxr, talk: Talk
) -> None:
    old = log_path(site.state_path)
    talk.round(1)
    before = old.read_bytes()
    for number in (2, 3, 4):
        talk.round(number)
    old.write_bytes(before)
    talk.round(4)
    code, out, _ = fedcxr(
        "coordinator", "witness", "a", "--state", coordinator.state_path, "--json"
    )
    assert code == 1
    (lost,) = json.loads(out)["breaks"]
    assert "an older copy or another log" in lost


def test_nothing_witnessed_yet_is_told_with_what_to_do(
    coordinator: Witnesses, fedcxr: Fedcxr
) -> None:
    coordinator.state_path.mkdir()
    code, _, err = fedcxr("coordinator", "witness", "north", "--state", coordinator.state_path)
    assert code == 2
    assert "fedcxr coordinator roster" in err


def test_a_hospital_that_takes_no_part_still_says_where_its_log_stands(
    site: SiteConfig, talk: Talk
) -> None:
    pause(site.state_path, by="someone")
    assert talk.round(1).head == log.head(site.state_path)
