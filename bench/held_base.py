"""A frozen model that nobody has to send: the coordinator was given it, and every hospital holds it already.

It is a file of zeros that takes no room on the disk, and every folder it lies in has a hard link to it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.config import load_site
from client.kept import KeptRounds, study_folder
from federation.config import study_digest
from federation.files import make_private_folder
from model.arrays import digest_arrays
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.config import model_config
from model.tensor_file import VALUE_BYTES, TensorFile, header_bytes
from model.tensors import num_values
from server.store import START, StudyStore
from simulation.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBase:
    """The file, and the digest of its tensors."""

    path: Path
    digest: str

    def give_to_coordinator(self, store: StudyStore) -> None:
        """What ``coordinator run --start`` does, without a copy."""
        os.link(self.path, store.folder / START)

    def give(self, layout: Layout, names: Sequence[str], store: StudyStore) -> None:
        """To the coordinator, and to hospitals as if an earlier round had brought it; they have profiles already."""
        self.give_to_coordinator(store)
        for name in names:
            site = load_site(layout.profile(name))
            kept = KeptRounds(study_folder(site, study_digest(store.study)))
            os.link(self.path, make_private_folder(kept.received) / f"{self.digest}.safetensors")


def make_base(path: Path, *, size: str, image_size: int) -> HeldBase:
    """A model of zeros; its digest is computed once."""
    shapes = network_shapes(model_config(size, image_size), Schema())
    make_private_folder(path.parent)
    with path.open("wb") as file:
        file.write(header_bytes(shapes, {}))
        file.truncate(file.tell() + VALUE_BYTES * num_values(shapes))
    return HeldBase(path=path, digest=digest_arrays(TensorFile(path)))
