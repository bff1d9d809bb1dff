"""The hospital's own profile: the one file its data manager writes. It stays in the hospital."""

import re
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import ClassVar

from client.control.limits import Limits
from client.dicom.policy import ReadPolicy
from federation.field_types import (
    Address,
    AeTitle,
    Port,
    Positive,
    ProxyAddress,
    Rate,
    SiteName,
    Whole,
)
from federation.layers import load_layered
from federation.strict_yaml import STRICT
from model.conditioning import FINDINGS

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dicomweb:
    """A PACS that is asked over DICOMweb (PS3.18): QIDO-RS to find radiographs, WADO-RS to fetch them."""

    url: str
    """Root of the service, ``https://pacs.example/dicom-web``."""
    user: str = ""
    """Name for basic authentication; empty for none."""
    password_path: Path | None = None
    """File whose first line is the password, or, without a user, a bearer token. Mode 0600."""
    ca_path: Path | None = None
    """Certificate of the authority that signed the server's, if it is not one that the system trusts."""
    since: date | None = None
    """Studies from this day on."""
    until: date | None = None
    """Studies up to this day."""
    modalities: tuple[str, ...] = ("CR", "DX")

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url must begin with https:// or http://")
        if "@" in self.url:
            raise ValueError(
                "url must hold no name or password: user and password_path are for them"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A machine that may send radiographs."""

    ae_title: AeTitle
    host: str
    """Address it sends from."""
    port: Port | None = None
    """Where it listens for DICOM itself, for `fedcxr doctor` to ask whether it is there; None: it is not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Where a PACS may push radiographs to with C-STORE (PS3.4 annex B)."""

    peers: tuple[Peer, ...]
    """Who may send; everybody else is refused."""
    ae_title: AeTitle = "FEDCXR"
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 11112
    max_waiting_bytes: Positive = 20 * 2**30
    """Received but not yet ingested radiographs; beyond it the sender is told to come back later."""

    def __post_init__(self) -> None:
        if not self.peers:
            raise ValueError("peers must name at least one machine that may send")


@dataclass(frozen=True, kw_only=True, slots=True)
class StatisticsPolicy:
    """What a coordinator may learn of this hospital's radiographs before a study, as counts."""

    share: bool = False
    """Whether counts leave at all."""
    min_cell: Positive = 10
    """Counts of fewer patients are withheld; without noise, others are rounded down to a multiple of it."""
    epsilon: Rate | None = None
    """Everything that leaves of one state of the cache carries discrete Laplace noise that makes all of it together
    this differentially private for one patient; None adds no noise."""
    max_pairs: Whole = 0
    """Tables of two attributes at once (age and edema) that may leave for one state of the cache, whoever asks
    and how often. The noise is made for that many, also on the counts of one attribute. 0: none leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMachine:
    """How this hospital's machine trains; what is learned depends on it by rounding alone."""

    processes: Positive = 1
    """Processes that share every step and hold a part of the model each: as many as there are GPUs."""
    recompute: bool = False
    """Compute the inside of each block twice instead of keeping it: a third more time, far less memory."""
    compile: bool = False
    """Have torch compile the blocks first: minutes at the start of a round, faster steps. Needs a C++ compiler."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteConfig:
    """One hospital's own profile; it stays in the hospital."""

    __pydantic_config__: ClassVar = STRICT

    site_name: SiteName
    """The name under which the coordinator's roster knows this hospital."""
    coordinator: Address
    """``host:port`` of the coordinator's public port."""
    ca_path: Path
    """Certificate of the authority that signed the coordinator's certificate."""
    proxy: ProxyAddress | None = None
    """``http://host:port`` of the proxy that leads out of the hospital; None: what the environment says (HTTPS_PROXY,
    ALL_PROXY), which may hold a name and a password. NO_PROXY counts either way."""
    authority_path: Path | None = None
    """Public half of the key with which the study authority signs plans and models; joining a study puts it here."""
    data_path: Path | None = None
    """Folder with DICOM files; it is only read."""
    dicomweb: Dicomweb | None = None
    """A PACS to ask for radiographs."""
    receiver: Receiver | None = None
    """Where a PACS may push radiographs to."""
    state_path: Path
    """Folder for everything this hospital keeps: keys, cache, finished updates, logs."""
    image_size: Positive
    """Side of the cached radiographs, in pixels; the studies to be joined must ask for the same."""
    findings: tuple[str, ...] = FINDINGS
    """Findings read from the labels; the studies to be joined must ask for the same, in the same order."""
    reading: ReadPolicy = field(default_factory=ReadPolicy)
    """Which radiographs are used."""
    labels_path: Path | None = None
    """CSV with findings; without it, and without structured reports, every finding is unknown."""
    label_mapping: str = "fedcxr"
    """How the labels and reports say what the model knows: the name of a mapping that comes with the
    program (fedcxr, chexpert, mimic, nih, padchest, vindr, brax, rexgradient) or a YAML file."""
    opt_out_path: Path | None = None
    """Text file with a patient id a line: patients whose radiographs are never used."""
    cache_key_path: Path | None = None
    """File with 64 hexadecimal digits, the key that the cache is encrypted with; mode 0600. The
    environment variable FEDCXR_CACHE_KEY stands in for the file; without either the cache is plain."""
    public_key_path: Path | None = None
    """Where to put a copy of this hospital's public key for the coordinator; none if it is handed over by hand."""
    share_counts: bool = False
    """Whether the numbers of files and usable records may leave with an update."""
    statistics: StatisticsPolicy = field(default_factory=StatisticsPolicy)
    """What may be counted for the coordinator before a study."""
    blob_hosts: tuple[str, ...] = ()
    """Names of the hosts, besides the coordinator, that weights may be fetched from and changes be left at: the bucket
    that a coordinator keeps them in. Empty: none."""
    codec_path: Path | None = None
    """Folder of the frozen autoencoder, for studies that train on its latents; None where none does."""
    privacy_path: Path | None = None
    """The hospital's privacy policy (YAML): what it lets a coordinator ask for, and the ledger of what its data have
    spent. Without one it takes no part in private training."""
    training: TrainingMachine = field(default_factory=TrainingMachine)
    """How this hospital's machine trains."""
    num_threads: Positive = 1
    """CPU threads for training. The same number gives the same bits."""
    limits: Limits = field(default_factory=Limits)
    """What the federation may take of this hospital's machine, line, disk and day."""

    def __post_init__(self) -> None:
        if self.data_path is None and self.dicomweb is None and self.receiver is None:
            raise ValueError(
                "one of data_path, dicomweb and receiver must say where radiographs are"
            )
        if not all(HOST_NAME.fullmatch(host) for host in self.blob_hosts):
            raise ValueError(
                "blob_hosts must be names of hosts in lower case, without https://, port or path"
            )


def load_site(path: Path) -> SiteConfig:
    """Read and check a hospital's profile; relative paths are relative to the file.

    Raises:
        ConfigError: naming the file, every offending key, and what it should be.
    """
    site, folder = load_layered(path, SiteConfig), path.resolve().parent
    return replace(
        site,
        ca_path=folder / site.ca_path,
        authority_path=_beside(folder, site.authority_path),
        state_path=folder / site.state_path,
        data_path=_beside(folder, site.data_path),
        dicomweb=_dicomweb_beside(folder, site.dicomweb),
        labels_path=_beside(folder, site.labels_path),
        label_mapping=_mapping_beside(folder, site.label_mapping),
        opt_out_path=_beside(folder, site.opt_out_path),
        cache_key_path=_beside(folder, site.cache_key_path),
        public_key_path=_beside(folder, site.public_key_path),
        codec_path=_beside(folder, site.codec_path),
        privacy_path=_beside(folder, site.privacy_path),
    )


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _mapping_beside(folder: Path, name: str) -> str:
    """A mapping is one that comes with the program, or a file."""
    return str(folder / name) if name.endswith((".yaml", ".yml")) else name


def _dicomweb_beside(folder: Path, pacs: Dicomweb | None) -> Dicomweb | None:
    if pacs is None:
        return None
    return replace(
        pacs,
        password_path=_beside(folder, pacs.password_path),
        ca_path=_beside(folder, pacs.ca_path),
    )
