"""What a study's process has around it: a place for large tensors, how much of it, and bells that save questions."""

import os
from dataclasses import dataclass
from pathlib import Path

from federation.bells import Bells, bells_of
from server.blobs.builtin import BuiltinStore
from server.blobs.store import BlobStore
from server.environment import BUCKET_VARIABLE, SCRATCH_VARIABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplies:
    """For one study's process."""

    blobs: BlobStore | None = None
    """None: everything travels inside messages."""
    max_scratch: int | None = None
    """None: as many bytes as there are changes."""
    bells: Bells | None = None
    """None: nobody rings."""


ALL_INSIDE = Supplies()


def supplies_of(state_path: Path) -> Supplies:
    """As the coordinator's environment says."""
    limit = os.environ.get(SCRATCH_VARIABLE)
    return Supplies(
        blobs=_blobs(state_path),
        max_scratch=int(limit) if limit else None,
        bells=bells_of(state_path),
    )


def _blobs(state_path: Path) -> BlobStore:
    url = os.environ.get(BUCKET_VARIABLE)
    if not url:
        return BuiltinStore(state_path)
    from server.blobs.bucket import BucketStore  # noqa: PLC0415  an optional dependency

    return BucketStore(url, scratch=state_path / "blobs" / "brought")
