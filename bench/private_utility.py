"""What privacy costs in quality: three hospitals of phantoms, without privacy and at two epsilons, with and without a base.

`python bench/private_utility.py OUT` makes the hospitals, trains a base on a public set of other patients, and lets the
hospitals train six studies of equal length: from scratch with every parameter, and from the base with a small adapter. The
hospitals' own code answers, ledger and policy included. It prints the loss on balanced held-out radiographs and what
share of the gain without privacy is left.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from client.cache.records import open_cache
from client.config import SiteConfig
from client.rounds import answer
from federation.config import ModelChoice, RoundRules, StudyConfig, study_digest
from federation.messages import Instruction
from federation.privacy_terms import PrivacyTerms
from federation.schedule import derive_seed
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import dump_yaml
from model.arrays import Arrays, digest_arrays, load_arrays
from model.generate import open_network
from model.tensor_file import copy_tensors
from privacy.accounting.noise import noise_multiplier_for
from server.export import adapter_path, export_models, model_path
from server.rounds import run_study
from server.sites import Answered, Event
from server.start import starting_weights
from server.store import StudyStore
from simulation.alone import build_network, fresh_weights, loss_on, train_alone
from simulation.config import SimulationConfig, load_simulation
from simulation.in_process import InProcess
from simulation.layout import Layout
from simulation.prepare import prepare

DELTA = 1e-4
EPSILONS = (None, 8.0, 3.0)
RANK = 4
MAX_GRAD_NORM = {"full": 0.5, "lora": 0.1}
LEARNING_RATE = {"full": 1e-3, "lora": 2e-3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long everything trains."""

    num_rounds: int
    local_steps: int
    batch_size: int
    sample_rate: float
    base_steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One study."""

    start: str
    epsilon: float | None
    noise_multiplier: float | None
    num_trained: int
    before: float
    after: float


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the hospitals and the studies")
    parser.add_argument("--hospitals", type=Path, default=Path("configs/iid.yaml"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="local steps of a round")
    parser.add_argument("--batch", type=int, default=100, help="patients of a step, expected")
    parser.add_argument("--rate", type=float, default=0.1, help="chance of a patient in a step")
    parser.add_argument("--base-steps", type=int, default=800)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    budget = Budget(
        num_rounds=chosen.rounds,
        local_steps=chosen.steps,
        batch_size=chosen.batch,
        sample_rate=chosen.rate,
        base_steps=chosen.base_steps,
    )
    plan, layout = load_simulation(chosen.hospitals), Layout(chosen.out.resolve())
    layout.out.mkdir(parents=True, exist_ok=True)
    names = prepare(layout, plan, print)
    base = make_base(plan, layout, budget)
    jobs = [(start, epsilon) for start in ("scratch", "base") for epsilon in EPSILONS]
    with get_context("spawn").Pool(2) as pool:
        results = pool.starmap(
            partial(train, plan=plan, layout=layout, names=names, base=base, budget=budget), jobs
        )
    print(table(results))
    if chosen.json:
        facts = {"budget": asdict(budget), "results": [asdict(each) for each in results]}
        chosen.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def make_base(plan: SimulationConfig, layout: Layout, budget: Budget) -> Path:
    """Weights of a model trained on a public set: phantoms of other patients, without privacy."""
    path = layout.out / "base.safetensors"
    if not path.exists():
        public = Layout(layout.out / "public")
        public.out.mkdir(exist_ok=True)
        site = replace(plan.phantoms[0], name="public", seed=plan.phantoms[0].seed + 1000)
        rules = replace(plan.study.rounds, num_sites=1, min_sites=1)
        alone = replace(
            plan, study=replace(plan.study, rounds=rules, stages=base_stages(budget)), sites=(site,)
        )
        prepare(public, alone, print)
        records = open_cache(public.cache("public"))
        copy_tensors(path, train_alone(alone.study, records, "public"))
    return path


def base_stages(budget: Budget) -> tuple[FullStage, ...]:
    """Three quarters fast, one quarter slow."""
    fast, slow = budget.base_steps * 3 // 4, budget.base_steps // 4
    return tuple(
        FullStage(
            kind="full",
            num_rounds=1,
            local=LocalTraining(local_steps=steps, batch_size=16, learning_rate=rate),
        )
        for steps, rate in ((fast, 2e-3), (slow, 4e-4))
    )


def train(
    start: str,
    epsilon: float | None,
    *,
    plan: SimulationConfig,
    layout: Layout,
    names: list[str],
    base: Path,
    budget: Budget,
) -> Result:
    """One study, from its start to its held-out loss."""
    torch.set_num_threads(1)
    given = load_arrays(base) if start == "base" else {}
    study = study_of(plan, given, epsilon, budget)
    store = StudyStore.create(layout.out / "studies", study)
    if given:
        store.keep_start(given)
    sites = [hospital(layout, plan, name, study) for name in names]

    def ask(instruction: Instruction) -> Iterator[Event]:
        for site in sites:
            yield Answered(site=site.site_name, answer=answer(site, instruction))

    export_models(store, run_study(store, InProcess(ask), starting_weights))
    held_out = open_cache(layout.held_out / "state" / "cache")
    seed = derive_seed(plan.study, "comparison")
    first = build_network(study, given or fresh_weights(study))
    adapter = adapter_path(store)
    last, _, _ = open_network(model_path(store), adapter if adapter.exists() else None)
    privacy = study.stages[0].local.privacy
    return Result(
        start=start,
        epsilon=epsilon,
        noise_multiplier=privacy.noise_multiplier if privacy else None,
        num_trained=num_trained(store),
        before=loss_on(first, held_out, seed=seed),
        after=loss_on(last, held_out, seed=seed),
    )


def study_of(
    plan: SimulationConfig, given: Arrays, epsilon: float | None, budget: Budget
) -> StudyConfig:
    """Every parameter from scratch, or a small adapter on what is given."""
    kind = "lora" if given else "full"
    local = LocalTraining(
        local_steps=budget.local_steps,
        batch_size=budget.batch_size,
        learning_rate=LEARNING_RATE[kind],
        privacy=None if epsilon is None else terms_of(epsilon, kind, budget),
    )
    stage = (
        LoraStage(
            kind="lora",
            num_rounds=budget.num_rounds,
            local=local,
            rank=RANK,
            alpha=2.0 * RANK,
            rule="alternate",
            targets=("qkv", "proj"),
        )
        if given
        else FullStage(kind="full", num_rounds=budget.num_rounds, local=local)
    )
    return replace(
        plan.study,
        name="utility",
        model=ModelChoice(
            size=plan.study.model.size,
            image_size=plan.study.model.image_size,
            start=digest_arrays(given) if given else None,
        ),
        rounds=RoundRules(num_sites=len(plan.sites), min_sites=len(plan.sites)),
        stages=(stage,),
    )


def terms_of(epsilon: float, kind: str, budget: Budget) -> PrivacyTerms:
    """As little noise as the epsilon allows."""
    sigma = noise_multiplier_for(
        epsilon,
        delta=DELTA,
        sample_rate=budget.sample_rate,
        num_steps=budget.num_rounds * budget.local_steps,
    )
    return PrivacyTerms(
        noise_multiplier=sigma,
        sample_rate=budget.sample_rate,
        max_grad_norm=MAX_GRAD_NORM[kind],
    )


def hospital(layout: Layout, plan: SimulationConfig, name: str, study: StudyConfig) -> SiteConfig:
    """A hospital with a policy, and a ledger, for this study alone."""
    folder = layout.hospital(name)
    digest = study_digest(study)[:12]
    terms = study.stages[0].local.privacy
    policy = {
        "data_set": name,
        "max_epsilon": 10.0,
        "delta": DELTA,
        "min_noise_multiplier": terms.noise_multiplier if terms else 1.0,
        "max_sample_rate": 1.0,
        "max_local_steps": study.stages[0].local.local_steps,
        "only_private": False,
        "kinds": ["full", "lora"],
        "ledger_path": f"{digest}.ledger",
    }
    path = folder / f"{digest}.privacy.yaml"
    path.write_text(dump_yaml(policy))
    return SiteConfig(
        site_name=name,
        coordinator="localhost:1",
        ca_path=folder / "ca.crt",
        data_path=folder / "data" / "dicom",
        state_path=folder / "state",
        image_size=plan.study.model.image_size,
        findings=plan.study.findings,
        privacy_path=path,
    )


def num_trained(store: StudyStore) -> int:
    """Numbers that move in a round, the most there are."""
    state = store.load_state()
    assert state is not None  # noqa: S101  the study is finished
    return sum(tensor.size for tensor in state.weights.values())


def table(results: list[Result]) -> str:
    """One line per study."""
    lines = [f"{'start':<10}{'epsilon':>9}{'sigma':>8}{'before':>9}{'after':>9}{'gain kept':>11}"]
    for each in results:
        plain = next(r for r in results if r.start == each.start and r.epsilon is None)
        kept = (each.before - each.after) / (plain.before - plain.after)
        epsilon = "none" if each.epsilon is None else f"{each.epsilon:g}"
        sigma = "" if each.noise_multiplier is None else f"{each.noise_multiplier:.2f}"
        lines.append(
            f"{each.start:<10}{epsilon:>9}{sigma:>8}{each.before:9.4f}{each.after:9.4f}{kept:11.0%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
