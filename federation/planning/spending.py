"""What a study charges at each hospital, as the hospital's ledger will write it down."""

from dataclasses import replace

from federation.config import StudyConfig
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LoraStage
from privacy.accounting.epsilon import combined_noise
from privacy.accounting.phase import Phase


def charged_phase(terms: PrivacyTerms, num_steps: int) -> Phase:
    """Steps under a study's terms; a loss that leaves is a second release of the same draw."""
    noise = terms.noise_multiplier
    if terms.loss_noise_multiplier is not None:
        noise = combined_noise(noise, terms.loss_noise_multiplier, terms.loss_noise_multiplier)
    return Phase(noise_multiplier=noise, sample_rate=terms.sample_rate, num_steps=num_steps)


def phases_of(study: StudyConfig) -> list[Phase]:
    """All private steps of a study at one hospital; none for stages without privacy."""
    return [
        charged_phase(stage.local.privacy, stage.num_rounds * stage.local.local_steps)
        for stage in study.stages
        if stage.local.privacy
    ]


def with_noise(study: StudyConfig, noise_multiplier: float) -> StudyConfig:
    """The same study with another noise multiplier in every stage that has one."""
    return replace(study, stages=tuple(_louder(stage, noise_multiplier) for stage in study.stages))


def _louder(stage: FullStage | LoraStage, noise_multiplier: float) -> FullStage | LoraStage:
    if (terms := stage.local.privacy) is None:
        return stage
    terms = replace(terms, noise_multiplier=noise_multiplier)
    return replace(stage, local=replace(stage.local, privacy=terms))
