"""The stages of a study without privacy, and a hospital's answer byte by byte."""

import shutil
from collections.abc import Callable

from client.cache.layout import cache_path
from client.config import SiteConfig
from federation.config import StudyConfig
from federation.messages import Update
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.wire.rounds import pack_answer

StudyOf = Callable[..., StudyConfig]
MakeHospital = Callable[..., SiteConfig]
LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=2, alpha=2.0)


def as_sent(update: Update) -> bytes:
    """Every byte of the answer."""
    record = pack_answer(update)
    arrays = {
        part: [(name, array.data) for name, array in tensors.items()]
        for part, tensors in record.array_records.items()
    }
    return repr((record.config_records, arrays)).encode()


def without_cache(site: SiteConfig) -> SiteConfig:
    """The hospital when its radiographs are gone, so that it cannot train."""
    shutil.rmtree(cache_path(site))
    return site
