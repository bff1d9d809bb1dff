"""What people do at a hospital before it takes part, done for hospitals of phantoms: a policy, and the plan's approval."""

from collections.abc import Sequence

from client.config import load_site
from client.plans.approving import approve
from client.plans.gate import arrive
from federation.files import write_file
from federation.strict_yaml import dump_yaml
from server.plans.issuing import signed_plan
from server.store import StudyStore
from simulation.layout import Layout

ACTOR = "simulation"


def approve_everywhere(store: StudyStore, layout: Layout, names: Sequence[str]) -> None:
    """Have every hospital approve the study's plan; they have profiles already."""
    signed = signed_plan(store)
    for name in names:
        site = load_site(layout.profile(name))
        arrive(site, signed)
        approve(site, signed.digest, name=ACTOR)


def write_open_policy(layout: Layout, name: str) -> None:
    """A policy under which phantoms may be used for anything, unless the study brought one."""
    if layout.policy(name).exists():
        return
    policy = {
        "data_set": name,
        "max_epsilon": 1e6,
        "delta": 1e-6,
        "min_noise_multiplier": 1e-3,
        "max_sample_rate": 1.0,
        "max_local_steps": 10**6,
        "only_private": False,
        "kinds": ["full", "lora"],
    }
    write_file(layout.policy(name), dump_yaml(policy).encode())
