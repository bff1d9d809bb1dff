"""What a study asks of a hospital's machine: memory, disk, bytes on the line, arithmetic; computed, not tried."""

from dataclasses import dataclass

from client.config import SiteConfig
from federation.config import StudyConfig
from federation.encoding import encoded_size
from federation.stages import FullStage, LoraStage
from model.footprint import FULL, HALF, kept_bytes, training_state_bytes

PROGRAM_BYTES = 600 * 10**6
"""Torch, its buffers, and the rest of the program."""
FRAGMENTS = 1.1
KEPT_FILES = 6
"""Received weights, the changes of two rounds, the optimizer's two moments, what rounding kept back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Of the stage that needs most of each."""

    memory_bytes: int
    """While it trains, of one process."""
    disk_bytes: int
    """Under state_path, besides the cache."""
    bytes_down: int
    """In a round, at most: whole weights."""
    bytes_up: int
    """In a round."""
    round_flops: float
    """Multiplications and additions of a round's training."""


def needs_of(study: StudyConfig, site: SiteConfig) -> Needs:
    """What the study needs at this hospital; takes a second, for it asks torch for the shapes."""
    each = [_of_stage(study, stage, site) for stage in study.stages]
    return Needs(
        memory_bytes=max(needs.memory_bytes for needs in each),
        disk_bytes=max(needs.disk_bytes for needs in each),
        bytes_down=max(needs.bytes_down for needs in each),
        bytes_up=max(needs.bytes_up for needs in each),
        round_flops=max(needs.round_flops for needs in each),
    )


def _of_stage(study: StudyConfig, stage: FullStage | LoraStage, site: SiteConfig) -> Needs:
    from model.adapter import adapter_shapes  # noqa: PLC0415  torch comes with them: a second
    from model.config import AdapterConfig  # noqa: PLC0415
    from model.table import size_row  # noqa: PLC0415
    from model.tensors import num_values  # noqa: PLC0415

    config = study.model_config
    row = size_row(config)
    trained, frozen, flops = row.num_parameters, 0, row.training_flops
    if isinstance(stage, LoraStage):
        adapter = AdapterConfig(rank=stage.rank, alpha=stage.alpha, targets=stage.targets)
        trained = num_values(adapter_shapes(config, adapter))
        frozen, flops = row.num_parameters, row.adapter_flops
    number = HALF if stage.local.precision == "bf16" else FULL
    images = stage.local.batch_size * stage.local.num_draws
    kept = images * kept_bytes(config, number, recompute=site.training.recompute)
    held = (training_state_bytes(trained) + FULL * frozen) // site.training.processes
    return Needs(
        memory_bytes=int(PROGRAM_BYTES + FRAGMENTS * (held + kept // site.training.processes)),
        disk_bytes=FULL * (KEPT_FILES * trained + frozen),
        bytes_down=FULL * (trained + frozen),
        bytes_up=encoded_size(trained, study.transport.upload),
        round_flops=float(flops) * images * stage.local.local_steps,
    )
