"""A hospital with everything in it that its console has to show, and the console on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

from starlette.types import ASGIApp

from client.config import SiteConfig, load_site
from client.console.run import hospital_console
from client.evidence.log import Event, head, note
from client.evidence.receipts import issue, receipt_of
from client.plans.approving import approve
from client.plans.gate import arrive
from client.privacy_policy import ledger_of, load_policy
from federation.code_digest import installed_code
from federation.config import ModelChoice, RoundRules, StudyConfig, study_digest
from federation.console.doorkeeper import Doorkeeper
from federation.messages import Update
from federation.node_keys import make_node_key
from federation.parcel import Parcel
from federation.plan import Plan, SignedPlan, plan_json
from federation.privacy_terms import PrivacyTerms
from federation.signing import make_signing_key, sign
from federation.stages import LocalTraining, LoraStage
from privacy.accounting.phase import Phase
from privacy.ledger.chain import Head
from privacy.ledger.ledger import round_key
from tests.browser.served import Served, served

NAME = "st-mary"
PROFILE = """\
site_name: st-mary
coordinator: "localhost:1"
ca_path: ca.crt
authority_path: authority.pub
data_path: data
state_path: st-mary
image_size: 16
privacy_path: policy.yaml
"""
POLICY = """\
data_set: archive
max_epsilon: 8.0
delta: 1.0e-6
min_noise_multiplier: 0.8
max_sample_rate: 0.1
max_local_steps: 50
"""
DATA_USE = "a generative model of chest radiographs, for research on fairness"
OFFICER = "Dr Jane Weber, data-protection officer"
PHASE = Phase(noise_multiplier=1.1, sample_rate=0.02, num_steps=20)
TERMS = PrivacyTerms(noise_multiplier=1.1, sample_rate=0.02, max_grad_norm=1.0)
LOCAL = LocalTraining(local_steps=20, batch_size=8, learning_rate=1e-4, privacy=TERMS)
STUDY = StudyConfig(
    name="chest-2026",
    seed=1,
    model=ModelChoice(size="tiny", image_size=16, start="a" * 64),
    rounds=RoundRules(num_sites=4, min_sites=2),
    stages=(LoraStage(kind="lora", num_rounds=30, local=LOCAL, rank=2, alpha=2.0),),
)
LONGER = replace(STUDY, name="chest-2027", stages=(replace(STUDY.stages[0], num_rounds=60),))


def make_profile(folder: Path) -> Path:
    """A hospital that has joined, and nothing else."""
    (folder / "site.yaml").write_text(PROFILE)
    (folder / "policy.yaml").write_text(POLICY)
    make_signing_key(folder / "authority.key")
    return folder / "site.yaml"


def make_past(profile: Path) -> SignedPlan:
    """An approved plan, two rounds that left, one that was begun; gives a new plan that waits."""
    site, folder = load_site(profile), profile.parent
    note(site.state_path, Event.JOINED, actor="data manager", facts={"site": NAME})
    first = plan_of(folder, STUDY, issued=1_790_000_000)
    arrive(site, first)
    approve(site, first.digest, name=OFFICER)
    with ledger_of(load_policy(folder / "policy.yaml")) as ledger:
        for number in (1, 2, 3):
            key = round_key(study_digest(STUDY), number)
            ledger.reserve(key, PHASE, study_digest=study_digest(STUDY))
            if number < 3:
                ledger.settle(key, num_steps=20, released=str(number) * 64)
                leave(site, number, plan=first.digest, epsilon=ledger.spent(), ledger=ledger.head)
    second = plan_of(folder, LONGER, issued=1_795_000_000)
    arrive(site, second)
    return second


def plan_of(
    folder: Path, study: StudyConfig, *, issued: int, data_use: str = DATA_USE
) -> SignedPlan:
    """A plan that the study authority of this hospital signed."""
    text = plan_json(
        Plan(
            study=study,
            code_digest=installed_code(),
            base_digest="a" * 64,
            data_use=data_use,
            ends=date(2099, 12, 31),
            issued=issued,
        )
    )
    key = make_signing_key(folder / "authority.key")
    return SignedPlan(text=text, signature=sign(key, text.encode()))


def leave(site: SiteConfig, number: int, *, plan: str, epsilon: float, ledger: Head) -> None:
    """Write the receipt of a round's change."""
    shapes = {f"blocks.{block}.qkv.lora_a": (2, 64) for block in range(3)}
    parcel = Parcel(shapes=shapes, encoding="fp32", digests=(f"{number:064x}",))
    update = Update(
        study_digest=study_digest(STUDY),
        round_number=number,
        received_digest="c" * 64,
        change=parcel,
        norm=0.73 + number / 10,
        num_steps=20,
        loss=float("nan"),
        held_out_loss=float("nan"),
        seconds=0.0,
        num_records=0,
        num_files=0,
        ledger=ledger,
    )
    receipt = receipt_of(
        update,
        site_name=NAME,
        study_name=STUDY.name,
        plan=plan,
        epsilon=epsilon,
        log_head=head(site.state_path),
    )
    issue(site.state_path, receipt, make_node_key(site.state_path, NAME))


@contextmanager
def served_hospital(profile: Path) -> Iterator[Served]:
    """The console on a free port."""

    def build(door: Doorkeeper, port: int) -> ASGIApp:
        return hospital_console(profile, door, name=NAME, port=port)

    with served(build) as console:
        yield console
