"""Tensors that come to a hospital: by whatever way, the same bits, and never half of them under their name."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.config import SiteConfig
from client.receiving import forget_others, forget_partial, receive
from client.refused import NotTaken
from client.sums import Sum
from client.transfer import patience
from federation.config import Transport
from federation.encoding import Encoding
from federation.messages import Instruction, RefusalCode, Shipment, Step, Ticket
from federation.parcel import Parcel, Unpacked, pack, shards_in_file
from federation.shipment import inline_shipment, shipment_of
from model.arrays import Arrays, digest_arrays
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import as_tensors
from tests.faults.blob_server import TOKEN, BlobServer, Shelf

BESIDE = Transport(inline_bytes=0, shard_values=400)


def arrays(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"a": (30, 20), "b": (7,), "c": ()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


OLD, NEW = arrays(1), arrays(2)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no proxy between here and here."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.05)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def server(tmp_path: Path, shelf: Shelf) -> Iterator[BlobServer]:
    with BlobServer(tmp_path / "server", shelf) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: BlobServer) -> SiteConfig:
    return site_at(tmp_path / "server", server.port)


@pytest.fixture
def folder(memory_path: Path) -> Path:
    return memory_path / "received"


def site_at(folder: Path, port: int) -> SiteConfig:
    return SiteConfig(
        site_name="a",
        coordinator=f"localhost:{port}",
        ca_path=folder / "ca.crt",
        data_path=folder,
        state_path=folder,
        image_size=16,
    )


def put(shelf: Shelf, parcel: Parcel, path: Path, start: int = 0, *, seconds: float = 60) -> Ticket:
    """Offer a parcel's shards, and give leave to fetch them."""
    read, before = shards_in_file(parcel, path, start=start), len(shelf.shards)
    shelf.shards += [read(number, 0, size) for number, size in enumerate(parcel.sizes)]
    links = tuple(f"/blobs/x/{before + number}" for number in range(len(parcel.sizes)))
    return Ticket(links=links, token=TOKEN, expires=int(time.time() + seconds))


def beside(shelf: Shelf, tensors: Arrays, path: Path, transport: Transport = BESIDE) -> Shipment:
    """Tensors that have to be fetched."""
    shipment = shipment_of_arrays(tensors, path, transport)
    return replace(shipment, ticket=put(shelf, shipment.parcel, path, TensorFile(path).data_start))


def shipment_of_arrays(tensors: Arrays, path: Path, transport: Transport = BESIDE) -> Shipment:
    digest = copy_tensors(path, tensors)
    return shipment_of(TensorFile(path), transport, digest=digest)


def step_to(
    shelf: Shelf, change: Arrays, path: Path, encoding: Encoding = "fp32"
) -> tuple[Step, Arrays]:
    """A step from the old tensors, and the tensors that it leads to."""
    parcel = pack(path, as_tensors(change), encoding, shard_values=400)
    step = Step(from_digest=digest_arrays(OLD), parcel=parcel, ticket=put(shelf, parcel, path))
    more = Unpacked(parcel, shards_in_file(parcel, path))
    return step, dict(Sum(as_tensors(OLD), more))


def refused(site: SiteConfig, shipment: Shipment, folder: Path) -> RefusalCode:
    with pytest.raises(NotTaken) as caught:
        receive(site, shipment, folder)
    return caught.value.refusal.code


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def file_of(tensors: Arrays) -> str:
    return f"{digest_arrays(tensors)}.safetensors"


def test_tensors_inside_the_message_become_a_file_and_are_not_asked_for_again(
    site: SiteConfig, folder: Path, shelf: Shelf
) -> None:
    shipment = inline_shipment(NEW)
    received = receive(site, shipment, folder)
    assert digest_arrays(received) == digest_arrays(NEW)
    assert names(folder) == [file_of(NEW)]
    again = receive(site, replace(shipment, content=None), folder)
    assert digest_arrays(again) == digest_arrays(NEW)
    assert shelf.asked == []


def test_a_file_that_the_disk_lost_the_end_of_is_received_anew(
    site: SiteConfig, folder: Path
) -> None:
    path = receive(site, inline_shipment(NEW), folder).path
    path.write_bytes(path.read_bytes()[:-1])
    assert digest_arrays(receive(site, inline_shipment(NEW), folder)) == digest_arrays(NEW)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(inline_shipment(OLD), digest=digest_arrays(NEW)),
        replace(inline_shipment(NEW), content=inline_shipment(OLD).content),
        replace(inline_shipment(NEW), content=b""),
    ],
    ids=["other tensors", "other bytes", "cut short"],
)
def test_tensors_that_are_not_the_named_ones_are_thrown_away(
    site: SiteConfig, folder: Path, wrong: Shipment
) -> None:
    assert refused(site, wrong, folder) == RefusalCode.STALE
    assert names(folder) == []


def test_tensors_are_fetched_shard_by_shard_through_a_line_that_breaks(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shipment = beside(shelf, NEW, tmp_path / "new")
    assert len(shipment.parcel.digests) == 2
    shelf.faults.short = 2
    assert digest_arrays(receive(site, shipment, folder)) == digest_arrays(NEW)
    assert names(folder) == [file_of(NEW)]


def test_the_digests_of_shards_that_were_checked_name_the_tensors_and_nothing_is_read_again(
    site: SiteConfig,
    folder: Path,
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipment = beside(shelf, NEW, tmp_path / "new", Transport(inline_bytes=0))
    monkeypatch.setattr("client.receiving.digest_arrays", pytest.fail)
    path = receive(site, shipment, folder).path
    assert path.name == file_of(NEW)
    assert digest_arrays(TensorFile(path)) == digest_arrays(NEW)


def test_a_description_of_other_tensors_than_the_named_ones_is_refused_before_a_byte_is_asked_for(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shipment = beside(shelf, OLD, tmp_path / "old", Transport(inline_bytes=0))
    wrong = replace(shipment, digest=digest_arrays(NEW))
    assert refused(site, wrong, folder) == RefusalCode.STALE
    assert (shelf.asked, names(folder)) == ([], [])


def test_a_file_that_was_fetched_is_one_that_any_program_reads(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    path = receive(site, beside(shelf, NEW, tmp_path / "new"), folder).path
    assert digest_arrays(load_file(path)) == digest_arrays(NEW)


def test_what_came_before_a_ticket_ended_is_not_fetched_again(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shipment = beside(shelf, NEW, tmp_path / "new")
    assert shipment.ticket is not None
    late = shelf.shards.pop()
    assert refused(site, shipment, folder) == RefusalCode.TRANSFER
    assert [name.endswith(".part") for name in names(folder)] == [True]
    shelf.shards.append(late)
    shelf.asked.clear()
    receive(site, shipment, folder)
    assert shelf.asked == [f"GET {shipment.ticket.links[-1]}"]


def test_a_ticket_that_has_ended_is_a_transfer_that_failed(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shipment = beside(shelf, NEW, tmp_path / "new")
    assert shipment.ticket is not None
    ended = replace(shipment, ticket=replace(shipment.ticket, expires=int(time.time()) - 5))
    shelf.faults.answers = [503]
    assert refused(site, ended, folder) == RefusalCode.TRANSFER


def test_whole_shards_of_other_tensors_than_the_named_ones_are_thrown_away(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shipment = replace(beside(shelf, OLD, tmp_path / "old"), digest=digest_arrays(NEW))
    assert refused(site, shipment, folder) == RefusalCode.STALE
    assert names(folder) == []


def test_a_half_fetched_file_of_other_shapes_is_begun_anew(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    folder.mkdir()
    (folder / f"{digest_arrays(NEW)}.part").write_bytes(bytes(5000))
    received = receive(site, beside(shelf, NEW, tmp_path / "new"), folder)
    assert digest_arrays(received) == digest_arrays(NEW)


def test_what_is_neither_here_nor_inside_nor_to_be_fetched_is_asked_for(
    site: SiteConfig, folder: Path
) -> None:
    nothing = replace(inline_shipment(NEW), content=None)
    assert refused(site, nothing, folder) == RefusalCode.BASE_MISSING


@pytest.mark.parametrize("encoding", ["fp32", "bf16", "int8"])
def test_a_step_from_the_last_weights_leads_to_the_same_bits_and_saves_the_rest(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path, encoding: Encoding
) -> None:
    receive(site, inline_shipment(OLD), folder)
    step, reached = step_to(shelf, arrays(3), tmp_path / "step", encoding)
    shipment = replace(beside(shelf, reached, tmp_path / "new"), step=step)
    received = receive(site, shipment, folder)
    for name, array in reached.items():
        np.testing.assert_array_equal(received[name], array)
    assert step.ticket is not None
    assert shelf.asked == [f"GET {link}" for link in step.ticket.links]
    assert names(folder) == sorted([file_of(OLD), file_of(reached)])


def test_what_a_step_does_not_name_stays_as_it_is(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    receive(site, inline_shipment(OLD), folder)
    step, reached = step_to(shelf, {"b": arrays(3)["b"]}, tmp_path / "step")
    shipment = replace(shipment_of_arrays(reached, tmp_path / "new"), step=step)
    received = receive(site, shipment, folder)
    np.testing.assert_array_equal(received["a"], OLD["a"])
    np.testing.assert_array_equal(received["b"], OLD["b"] + arrays(3)["b"])


def test_a_hospital_that_missed_a_round_fetches_everything(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    step, reached = step_to(shelf, arrays(3), tmp_path / "step")
    shipment = replace(beside(shelf, reached, tmp_path / "new"), step=step)
    assert digest_arrays(receive(site, shipment, folder)) == digest_arrays(reached)
    assert shipment.ticket is not None
    assert shelf.asked == [f"GET {link}" for link in shipment.ticket.links]


@pytest.mark.parametrize("damage", ["a value", "the end", "other shapes"])
def test_a_step_that_does_not_fit_what_is_here_is_made_good_by_fetching_everything(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path, damage: str
) -> None:
    held = receive(site, inline_shipment(OLD), folder).path
    step, reached = step_to(shelf, arrays(3), tmp_path / "step")
    shipment = replace(beside(shelf, reached, tmp_path / "new"), step=step)
    if damage == "other shapes":
        copy_tensors(held, {"a": np.zeros((2, 2), np.float32)})
    else:
        content = held.read_bytes()
        held.write_bytes(content[:-1] + (b"\x11" if damage == "a value" else b""))
    assert digest_arrays(receive(site, shipment, folder)) == digest_arrays(reached)


def test_a_step_that_leads_elsewhere_is_not_believed(
    site: SiteConfig, folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    receive(site, inline_shipment(OLD), folder)
    step, _ = step_to(shelf, arrays(3), tmp_path / "step")
    shipment = replace(shipment_of_arrays(NEW, tmp_path / "new"), step=step)
    assert refused(site, shipment, folder) == RefusalCode.BASE_MISSING
    assert file_of(NEW) not in names(folder)


def test_only_what_the_instruction_sent_stays(site: SiteConfig, folder: Path) -> None:
    for tensors in (OLD, NEW, arrays(3)):
        receive(site, inline_shipment(tensors), folder)
    (folder / ".x.partial").touch()
    instruction = Instruction(
        study="{}", round_number=1, weights=inline_shipment(NEW), base=inline_shipment(OLD)
    )
    forget_others(folder, instruction)
    assert names(folder) == sorted([file_of(OLD), file_of(NEW)])


def test_half_fetched_files_stay_if_the_instruction_can_go_on_from_them(folder: Path) -> None:
    folder.mkdir()
    step = Step(from_digest="f" * 64, parcel=inline_shipment(arrays(3)).parcel)
    instruction = Instruction(
        study="{}",
        round_number=1,
        weights=replace(inline_shipment(NEW), step=step),
        base=inline_shipment(OLD),
    )
    wanted = {digest_arrays(NEW), digest_arrays(OLD), step.parcel.digest}
    for name in wanted | {"0" * 64}:
        (folder / f"{name}.part").touch()
    (folder / ".x.partial").touch()
    (folder / "held.safetensors").touch()
    forget_partial(folder, instruction)
    assert names(folder) == sorted([*(f"{name}.part" for name in wanted), "held.safetensors"])


MORTAL = """
import itertools, os, signal, sys
from pathlib import Path

root, folder, server, port = sys.argv[1:]
sys.path[:0] = [root, root + "/tests"]
from client.transfer import fetch
from test_client_receiving import live, site_at
from tests.faults.mortal import dies_after, mortal

def live_once(number):
    instant = dies_after(number)
    os.fsync, os.replace, os.unlink = (mortal(f, instant) for f in (os.fsync, os.replace, os.unlink))
    os.fdatasync, os.ftruncate = mortal(os.fdatasync, instant), mortal(os.ftruncate, instant)
    fetch._Received.begin = mortal(fetch._Received.begin, instant)
    fetch._Received.cut = mortal(fetch._Received.cut, instant)
    fetch.write_all = mortal(fetch.write_all, instant)
    live(site_at(Path(server), int(port)), Path(folder, str(number)))
    os._exit(0)

for number in itertools.count():
    if not os.fork():
        live_once(number)
    if os.wait()[1] != signal.SIGKILL:
        break
"""


def live(site: SiteConfig, folder: Path) -> None:
    """Two rounds as a hospital takes them: everything is fetched, then a step."""
    for instruction in rounds(folder.parent.parent / "offers"):
        folder.mkdir(parents=True, exist_ok=True)
        forget_partial(folder, instruction)
        receive(site, instruction.weights, folder)
        forget_others(folder, instruction)


def rounds(path: Path, shelf: Shelf | None = None) -> list[Instruction]:
    """What is sent for two rounds; the same whoever asks."""
    path.mkdir(exist_ok=True)
    shelf = shelf or Shelf()
    instructions: list[Instruction] = []
    before: Arrays = {}
    for number in (1, 2):
        weights = {**arrays(number)} if not before else {**before, "a": before["a"] + number}
        shipment = beside(shelf, weights, path / f"{number}.weights")
        if before:
            change = as_tensors({"a": weights["a"] - before["a"]})
            parcel = pack(path / f"{number}.step", change, "fp32", shard_values=400)
            ticket = put(shelf, parcel, path / f"{number}.step")
            step = Step(from_digest=digest_arrays(before), parcel=parcel, ticket=ticket)
            more = Unpacked(parcel, shards_in_file(parcel, path / f"{number}.step"))
            assert digest_arrays(Sum(as_tensors(before), more)) == shipment.digest
            shipment = replace(shipment, step=step)
        instructions.append(Instruction(study="{}", round_number=number, weights=shipment))
        before = weights
    return instructions


@pytest.mark.slow
def test_a_hospital_killed_anywhere_while_it_receives_holds_nothing_wrong_and_goes_on(
    memory_path: Path, tmp_path: Path, shelf: Shelf, server: BlobServer, site: SiteConfig
) -> None:
    wanted = [each.weights.digest for each in rounds(memory_path / "offers", shelf)]
    root = str(Path(__file__).parents[1])
    lives = memory_path / "lives"
    lives.mkdir()
    arguments = [root, str(lives), str(tmp_path / "server"), str(server.port)]
    subprocess.run([sys.executable, "-c", MORTAL, *arguments], check=True, timeout=300)
    survivors = list(lives.iterdir())
    for folder in survivors:
        for path in folder.glob("*.safetensors"):
            assert digest_arrays(TensorFile(path)) == path.stem
        live(site, folder)
        assert names(folder) == [f"{wanted[-1]}.safetensors"]
        assert digest_arrays(TensorFile(folder / f"{wanted[-1]}.safetensors")) == wanted[-1]
    assert len(survivors) > 15
