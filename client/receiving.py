"""Tensors from the coordinator onto this hospital's disk, by the cheapest way that a shipment leaves open.

They are here already, or inside the message, or a step away from those of the round before, or they are fetched. A
file is named by the digest of its tensors, and only gets that name once its bytes gave that digest.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from client.config import SiteConfig
from client.refused import NotTaken
from client.sums import Sum
from client.transfer.fetch import fetch_shards
from federation.files import make_private_folder, sync_folder
from federation.messages import Instruction, RefusalCode, Shipment, Ticket
from federation.parcel import NotTheParcel, Parcel, Unpacked, shards_in_file
from federation.shipment import open_inline
from model.arrays import WrongModelFile, digest_arrays
from model.tensor_file import TensorFile, header_bytes, write_tensors
from model.tensors import Tensors, pieces_of

logger = logging.getLogger(__name__)

STALE_REASON = "the weights that came are not the ones that the instruction names"
MISSING_REASON = "the hospital does not hold the weights that the instruction names, and it brings no way to get them"


def receive(site: SiteConfig, shipment: Shipment, folder: Path) -> TensorFile:
    """The tensors of a shipment as a file; asked again, the same file at no cost.

    Args:
        site: This hospital.
        shipment: From an instruction.
        folder: Where received tensors lie. What an attempt that died left in it is gone on from.

    Raises:
        NotTaken: they are not what the shipment says, cannot be fetched, or there is no way to get them.
    """
    path = make_private_folder(folder) / f"{shipment.digest}.safetensors"
    if (held := _held(path)) is not None:
        return held
    if shipment.content is not None:
        return _opened(shipment, path)
    stepped = _stepped(site, shipment, path)
    return _fetched(site, shipment, path) if stepped is None else stepped


def forget_partial(folder: Path, instruction: Instruction) -> None:
    """Throw away what attempts that died left, but for what this instruction goes on from."""
    wanted = set(_names_of_parts(instruction))
    for path in folder.glob("*.partial"):  # half-written by this program, which begins those anew
        path.unlink()
    for path in folder.glob("*.part"):
        if path.name not in wanted:
            path.unlink()


def forget_others(folder: Path, instruction: Instruction) -> None:
    """Throw away everything but what the instruction sent; its weights stay for the next round's step."""
    wanted = {f"{shipment.digest}.safetensors" for shipment in _shipments(instruction)}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def _shipments(instruction: Instruction) -> list[Shipment]:
    return [each for each in (instruction.weights, instruction.base) if each is not None]


def _names_of_parts(instruction: Instruction) -> Iterator[str]:
    for shipment in _shipments(instruction):
        yield f"{shipment.digest}.part"
        if shipment.step is not None:
            yield f"{shipment.step.parcel.digest}.part"


def _held(path: Path) -> TensorFile | None:
    """What was received before; its digest was computed when it got its name."""
    try:
        return TensorFile(path)
    except WrongModelFile:  # missing, or cut short by a disk that lost it
        return None


def _opened(shipment: Shipment, path: Path) -> TensorFile:
    """From inside the message."""
    try:
        return _written(open_inline(shipment), path)
    except NotTheParcel as err:
        raise NotTaken(RefusalCode.STALE, STALE_REASON) from err


def _stepped(site: SiteConfig, shipment: Shipment, path: Path) -> TensorFile | None:
    """The weights of the round before and what was added to them; None if that does not lead to the wanted ones."""
    step = shipment.step
    if step is None or step.ticket is None:
        return None
    before = _held(path.with_name(f"{step.from_digest}.safetensors"))
    if before is None:
        return None
    try:
        return _added(site, step.parcel, step.ticket, before, path)
    except (NotTaken, NotTheParcel) as err:
        logger.warning("the step from the last weights cannot be used: %s", err)
        return None


def _added(
    site: SiteConfig, parcel: Parcel, ticket: Ticket, old: TensorFile, path: Path
) -> TensorFile:
    if any(old.shapes.get(name) != shape for name, shape in parcel.shapes.items()):
        raise NotTheParcel("the step is not one of these weights")
    part = path.with_name(f"{parcel.digest}.part")
    part.touch(mode=0o600)
    fetch_shards(site, ticket, parcel, part, start=0)
    written = _written(Sum(old, Unpacked(parcel, shards_in_file(parcel, part))), path)
    part.unlink()
    return written


def _fetched(site: SiteConfig, shipment: Shipment, path: Path) -> TensorFile:
    """All of them, beside the message."""
    if shipment.ticket is None:
        raise NotTaken(RefusalCode.BASE_MISSING, MISSING_REASON)
    told = shipment.parcel.tensors_digest
    if told not in {None, shipment.digest}:
        raise NotTaken(RefusalCode.STALE, STALE_REASON)
    part, header = path.with_suffix(".part"), header_bytes(shipment.parcel.shapes, {})
    _begin(part, header)
    fetch_shards(site, shipment.ticket, shipment.parcel, part, start=len(header))
    if told is None and not _holds(part, shipment.digest):
        part.unlink()
        raise NotTaken(RefusalCode.STALE, STALE_REASON)
    part.replace(path)
    sync_folder(path.parent)
    return TensorFile(path)


def _begin(part: Path, header: bytes) -> None:
    """Make sure that a file begins with a header; one that does not is begun anew."""
    part.touch(mode=0o600)
    with part.open("r+b") as file:
        if file.read(len(header)) != header:
            file.seek(0)
            file.write(header)
            file.truncate()


def _holds(part: Path, digest: str) -> bool:
    """Whether a file holds the tensors of this digest and nothing else."""
    try:
        return digest_arrays(TensorFile(part)) == digest
    except WrongModelFile:
        return False


def _written(tensors: Tensors, path: Path) -> TensorFile:
    """Tensors from wherever they lie under the name of their digest, and under no other."""
    with write_tensors(path, tensors.shapes) as writer:
        for piece in pieces_of(tensors.shapes):
            writer.put(piece, tensors.piece(piece))
        if writer.digest != path.stem:
            raise NotTaken(RefusalCode.STALE, STALE_REASON)
    return TensorFile(path)
