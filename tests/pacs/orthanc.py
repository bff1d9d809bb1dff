"""A real PACS, Orthanc, on loopback: its settings, the studies that go into it, and how a test speaks to it."""

import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import requests
from pydicom import dcmread
from pydicom.uid import (
    UID,
)

from client.config import SiteConfig
from client.sources.kinds import PICTURE_SYNTAXES
from simulation.dicom_writer import Machine, Study, build_radiograph, uid_of, write_radiograph

PLUGINS = Path("/usr/share/orthanc/plugins")
USER, PASSWORD = "fedcxr", "only-on-loopback"
TITLE, OUR_TITLE = "SOMEPACS", "FEDCXR"
PATIENCE_SECONDS = 30.0
DX = Machine(
    modality="DX", manufacturer="SYN", institution="SYN", bits=12, photometric="MONOCHROME1"
)


@dataclass(frozen=True, kw_only=True)
class Pacs:
    """A running Orthanc, the profile of a hospital that it belongs to, and what was put into it."""

    url: str
    site: SiteConfig
    files: Mapping[str, Path]
    """SOP instance UID -> the radiograph that went in."""

    def ask(self, method: str, path: str, content: bytes | None = None) -> object:
        """Speak to the console, as the administrator of the PACS."""
        with requests.Session() as session:
            session.trust_env, session.auth = False, (USER, PASSWORD)
            answer = session.request(method, f"{self.url}{path}", data=content)
        answer.raise_for_status()
        return answer.json()

    def studies_of(self, files: Iterable[Path]) -> list[str]:
        """Where the PACS has the studies of radiographs."""
        uids = [str(dcmread(path).StudyInstanceUID).encode() for path in files]
        found = [self.ask("POST", "/tools/lookup", uid) for uid in uids]
        return [str(matches[0]["Path"]) for matches in found if isinstance(matches, list)]

    def push(self, files: Iterable[Path]) -> None:
        """Have the PACS send radiographs to the receiver."""
        studies = [path.rpartition("/")[2] for path in self.studies_of(files)]
        content = json.dumps({"Resources": studies, "Synchronous": True})
        self.ask("POST", "/modalities/us/store", content.encode())


def write_studies(folder: Path) -> dict[str, Path]:
    """A radiograph in every encoding that may be sent, each in a study of its own day."""
    rng, files = np.random.default_rng(3), {}
    for number, syntax in enumerate(PICTURE_SYNTAXES):
        study = Study(
            patient_id=f"SYN{number // 2}",
            number=number % 2 + 1,
            sex="F",
            age=50,
            view="PA",
            taken=datetime(2024, 1, 1 + number, tzinfo=UTC),
        )
        radiograph = build_radiograph(rng.random((40, 32)), DX, study)
        path = folder / f"{number}.dcm"
        write_radiograph(path, radiograph, transfer_syntax=syntax)
        files[str(radiograph.SOPInstanceUID)] = path
    return files


def write_as(path: Path, source: Path, kind: UID, modality: str, *, study: str) -> Path:
    """The same instance as something else that a PACS may hold."""
    instance = dcmread(source)
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = kind
    instance.Modality = modality
    instance.StudyInstanceUID = study
    instance.SeriesInstanceUID = uid_of("series", modality)
    instance.SOPInstanceUID = uid_of("instance", modality)
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.save_as(path)
    return path


def settings_of(folder: Path, *, http: int, dicom: int, push: int) -> dict[str, object]:
    return {
        "Name": TITLE,
        "DicomAet": TITLE,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,  # this release listens on every address of the machine
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomCheckModalityHost": True,
        "DicomModalities": {"us": {"AET": OUR_TITLE, "Host": "127.0.0.1", "Port": push}},
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


@contextmanager
def orthanc(folder: Path, settings: Mapping[str, object]) -> Iterator[None]:
    """Run the server for as long as it is wanted; it can be asked once this is entered."""
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log
        )
    try:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while b"Orthanc has started" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
