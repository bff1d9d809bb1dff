"""A hospital with a privacy policy and an open ledger, and the private stages of a study for it."""

from dataclasses import replace
from pathlib import Path

from client.config import SiteConfig
from client.privacy_policy import load_policy
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import dump_yaml
from privacy.ledger.verification import read_statement

TERMS = PrivacyTerms(noise_multiplier=2.0, sample_rate=0.5, max_grad_norm=0.1)
LOCAL = LocalTraining(local_steps=2, batch_size=4, learning_rate=1e-3, privacy=TERMS)
FULL = FullStage(kind="full", num_rounds=3, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=2, alpha=2.0, rule="alternate")
POLICY = {
    "data_set": "radiology",
    "max_epsilon": 50.0,
    "delta": 1e-3,
    "min_noise_multiplier": 1.0,
    "max_sample_rate": 0.5,
    "max_local_steps": 4,
    "kinds": ["full", "lora"],
}


def with_policy(site: SiteConfig, **changes: object) -> SiteConfig:
    path = site.state_path.parent / "privacy.yaml"
    path.write_text(dump_yaml(POLICY | changes))
    return replace(site, privacy_path=path)


def ledger_path(site: SiteConfig) -> Path:
    assert site.privacy_path is not None
    return load_policy(site.privacy_path).ledger_path


def spent(site: SiteConfig) -> float:
    book = read_statement(ledger_path(site)).book
    assert book is not None
    return book.spent
