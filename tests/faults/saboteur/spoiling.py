"""What a bad hospital says of its change, and what it puts into it: one function per fault."""

import json
import math
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.config import SiteConfig
from client.evidence.recording import plan_of, signed
from client.kept import UPDATE, Finished, KeptRounds, study_folder
from federation.encoding import Encoding
from federation.messages import Answer, Instruction, Update
from federation.parcel import Parcel, Unpacked, pack, shards_in_file
from federation.wire.header import PROTOCOL
from model.tensors import as_tensors

Arrays = dict[str, NDArray[np.float32]]
Spoil = Callable[[Finished], Update]
ZEROS = "0" * 64


def fault_of(round_number: int) -> str:
    """What goes wrong in a round; empty if nothing does."""
    always = os.environ.get("FEDCXR_TEST_FAULT", "")
    faults = os.environ.get("FEDCXR_TEST_FAULTS", "").split(",")
    return always or (faults[round_number - 1] if round_number <= len(faults) else "")


def spoilt_answer(site: SiteConfig, asked: Instruction, answer: Answer) -> Answer:
    """An answer as a bad hospital gives it, signed as one that is meant; whoever forges it has no key."""
    if not isinstance(answer, Update):
        return answer
    if fault_of(answer.round_number) == "forged":
        return replace(answer, loss=answer.loss + 1.0)
    return signed(site, _spoilt(site, answer), plan=plan_of(asked))


def _spoilt(site: SiteConfig, answer: Update) -> Update:
    """Another update than the hospital made; its first one is remembered, to be said again."""
    first = site.state_path / "first-answer"
    if not first.exists():
        first.write_bytes(pickle.dumps(answer))
    fault = fault_of(answer.round_number)
    if fault == "replay":
        replayed: Update = pickle.loads(first.read_bytes())  # noqa: S301  written here
        return replayed
    spoil = FAULTS.get(fault)
    kept = KeptRounds(study_folder(site, answer.study_digest)).read(answer.round_number)
    return answer if spoil is None or kept is None else spoil(kept)


def spoilt_record(record: RecordDict, answer: Answer) -> RecordDict:
    """An answer's record as a bad hospital packs it."""
    if not isinstance(answer, Update):
        return record
    fault = fault_of(answer.round_number)
    if fault == "garbage":
        return RecordDict()
    header = record.config_records["header"]
    if fault == "protocol":
        header["protocol"] = PROTOCOL + 1
    if fault == "negative-records":
        header["num_records"] = -5
    return record


def _values(change: Callable[[Arrays], None], *, is_said: bool = False) -> Spoil:
    """Other values than those that were trained, with or without saying their norm."""

    def spoil(finished: Finished) -> Update:
        arrays = {name: np.array(array) for name, array in finished.change.items()}
        change(arrays)
        return _packed_anew(finished, arrays, is_said=is_said)

    return spoil


def _packed_anew(
    finished: Finished,
    arrays: Mapping[str, NDArray[np.float32]],
    *,
    is_said: bool = False,
    encoding: Encoding | None = None,
    shard_values: int | None = None,
) -> Update:
    """Put other tensors in the place of the kept change, so that they are what is delivered."""
    change = finished.update.change
    parcel = pack(
        finished.path,
        as_tensors(arrays),
        encoding or change.encoding,
        shard_values=shard_values or change.shard_values,
    )
    norm = _norm(parcel, finished.path) if is_said else finished.update.norm
    update = replace(finished.update, change=parcel, norm=norm)
    content = {"update": asdict(update), "asked": asdict(finished.asked)}
    (finished.path.parent / UPDATE).write_text(json.dumps(content))
    return update


def _norm(parcel: Parcel, path: Path) -> float:
    tensors = Unpacked(parcel, shards_in_file(parcel, path))
    squares = [np.square(array, dtype=np.float64).sum() for array in tensors.values()]
    return math.sqrt(sum(squares))


def _first(arrays: Arrays, value: float) -> None:
    arrays[min(arrays)].flat[0] = value


def _scale(arrays: Arrays, factor: float) -> None:
    for array in arrays.values():
        np.multiply(array, np.float32(factor), out=array)


def _flip_exponent(arrays: Arrays) -> None:
    """One bit of one value: what memory or a disk without checksums may do before the digest is made."""
    array = arrays[max(arrays)].reshape(-1)
    array.view(np.uint32)[:1] ^= np.uint32(1 << 30)


def _others(change: Callable[[Arrays], None]) -> Spoil:
    """Other tensors than those that are asked for."""

    def spoil(finished: Finished) -> Update:
        arrays = {name: np.array(array) for name, array in finished.change.items()}
        change(arrays)
        return _packed_anew(finished, arrays, is_said=True)

    return spoil


def _omit(arrays: Arrays) -> None:
    del arrays[min(arrays)]


def _add(arrays: Arrays) -> None:
    arrays["zz.not.asked.for"] = np.zeros(4, np.float32)


def _reshape(arrays: Arrays) -> None:
    name = next(name for name in sorted(arrays) if arrays[name].ndim == 2)
    arrays[name] = np.ascontiguousarray(arrays[name].T)


def _said(**fields: object) -> Spoil:
    """An honest change with other words about it."""
    return lambda finished: replace(finished.update, **fields)  # type: ignore[arg-type]


def _inside(change: Callable[[bytes], bytes]) -> Spoil:
    """The change inside the message, not as it was described."""
    return lambda finished: replace(finished.update, content=change(finished.path.read_bytes()))


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _all(finished: Finished) -> dict[str, NDArray[np.float32]]:
    return dict(finished.change)


FAULTS: dict[str, Spoil] = {
    "nan": _values(lambda arrays: _first(arrays, np.nan), is_said=True),
    "nan-unsaid": _values(lambda arrays: _first(arrays, np.nan)),
    "inf-unsaid": _values(lambda arrays: _first(arrays, np.inf)),
    "bit-unsaid": _values(_flip_exponent),
    "large": _values(lambda arrays: _scale(arrays, 1e30), is_said=True),
    "large-unsaid": _values(lambda arrays: _scale(arrays, 1000.0)),
    "omit": _others(_omit),
    "unknown": _others(_add),
    "shape": _others(_reshape),
    "encoding": lambda finished: _packed_anew(finished, _all(finished), encoding="bf16"),
    "shards": lambda finished: _packed_anew(finished, _all(finished), shard_values=123_456),
    "study": _said(study_digest=ZEROS),
    "weights": _said(received_digest=ZEROS),
    "steps": _said(num_steps=1),
    "loss": _said(loss=math.inf),
    "norm": _said(norm=math.nan),
    "stale": lambda finished: replace(
        finished.update, round_number=finished.update.round_number - 1
    ),
    "truncated-inside": _inside(lambda content: content[:-100]),
    "flipped-inside": _inside(_flipped),
}
