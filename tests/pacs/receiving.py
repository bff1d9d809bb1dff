"""A hospital's receiver in this process, and a PACS that connects to it and pushes radiographs."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from client.config import Peer, Receiver, SiteConfig
from client.sources.kinds import RADIOGRAPHS
from client.sources.received import ReceivedSource, received_path
from client.sources.receiver import receive
from federation.processes import free_port
from simulation.dicom_writer import Machine, Study, build_radiograph

PATIENCE_SECONDS = 20.0
DX = Machine(
    modality="DX", manufacturer="SYN", institution="SYN", bits=12, photometric="MONOCHROME2"
)
THEM, US = "SOMEPACS", "FEDCXR"
Told = list[Mapping[str, object]]


def site_that_receives(tmp_path: Path) -> SiteConfig:
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=tmp_path / "ca.crt",
        state_path=tmp_path / "state",
        image_size=16,
        receiver=Receiver(peers=(Peer(ae_title=THEM, host="127.0.0.1"),), port=free_port()),
    )


def with_receiver(site: SiteConfig, **changes: object) -> SiteConfig:
    assert site.receiver is not None
    return replace(site, receiver=replace(site.receiver, **changes))  # type: ignore[arg-type]


def radiograph(number: int, *, size: int = 24) -> FileDataset:
    study = Study(
        patient_id=f"SYN{number}",
        number=1,
        sex="F",
        age=50,
        view="PA",
        taken=datetime(2024, 1, 2, tzinfo=UTC),
    )
    return build_radiograph(np.random.default_rng(number).random((size, size)), DX, study)


@contextmanager
def receiving(site: SiteConfig) -> Iterator[Told]:
    """Run the receiver in this process; gives what it tells."""
    told: Told = []
    stop, listening = threading.Event(), threading.Event()

    def tell(facts: Mapping[str, object], _text: str) -> None:
        told.append(facts)
        listening.set()

    thread = threading.Thread(target=receive, args=(site,), kwargs={"stop": stop, "tell": tell})
    thread.start()
    try:
        assert listening.wait(PATIENCE_SECONDS)
        yield told
    finally:
        stop.set()
        thread.join()


@contextmanager
def calling(
    site: SiteConfig,
    *,
    title: str = THEM,
    called: str = US,
    kinds: Sequence[UID] = RADIOGRAPHS,
    syntaxes: Sequence[UID] = (ExplicitVRLittleEndian,),
) -> Iterator[Association]:
    """Be a PACS that connects; the association may turn out to be refused."""
    assert site.receiver is not None
    pacs = AE(title)
    pacs.acse_timeout = pacs.dimse_timeout = pacs.network_timeout = PATIENCE_SECONDS
    contexts = [build_context(kind, list(syntaxes)) for kind in kinds]
    association = pacs.associate(
        "127.0.0.1", site.receiver.port, contexts=contexts, ae_title=called
    )
    # The library forgets its socket without closing it when the other side goes away at the wrong moment.
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(PATIENCE_SECONDS)
        if connection is not None:
            connection.close()


def push(site: SiteConfig, *radiographs: Dataset) -> list[int]:
    """Send radiographs on one association; gives the answers."""
    with calling(site) as association:
        assert association.is_established
        return [association.send_c_store(radiograph).Status for radiograph in radiographs]


def waiting(site: SiteConfig) -> list[Path]:
    source = ReceivedSource(received_path(site.state_path))
    return [source.file_of(item, Path("unused")) for item in source.items()]


def wait_for(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
