"""The machines that radiographs come from: the PACS that is asked, and those that push; nothing of a patient is told."""

import errno
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from pydicom.uid import UID
from pynetdicom import AE
from requests.exceptions import RequestException

from client.config import Dicomweb, Peer, Receiver
from client.doctor.hospital import Hospital
from client.sources.item import SourceFailed
from client.sources.listener import AddressUnknown, addresses_of
from client.sources.pacs import (
    AccessFileUnusable,
    NotDicomweb,
    PacsAbsent,
    PacsNotTrusted,
    failure_of,
    open_session,
    place_of,
)
from client.sources.quiet import keep_quiet
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn

PATIENCE_SECONDS = 4.0
"""For each of: reaching a machine, and its answer."""
VERIFICATION = UID("1.2.840.10008.1.1")
HEAD_BYTES = 2**10
"""Of an answer; what comes after its beginning is not read."""


def pacs(hospital: Hospital) -> Finding:
    """Does the PACS that is asked over DICOMweb answer a search?"""
    config = hospital.site.dicomweb
    if config is None:
        return skipped("the profile names no PACS to ask (dicomweb)")
    started = time.monotonic()
    try:
        _search(config)
    except SourceFailed as err:
        return _of_failure(err, config)
    took = 1000 * (time.monotonic() - started)
    return ok(f"the PACS at {place_of(config.url)} answers a search in {took:.0f} ms")


def receiver(hospital: Hospital) -> Finding:
    """Does the receiver run, and are the machines there that push to it?"""
    config = hospital.site.receiver
    if config is None:
        return skipped("nothing is pushed here (receiver)")
    with ThreadPoolExecutor(8) as pool:
        troubles = [
            each for each in pool.map(lambda peer: _echo(config, peer), config.peers) if each
        ]
    if troubles:
        return troubles[0]
    if not _listens(config):
        return warn(
            f"nobody listens on {config.host}:{config.port}: what a PACS pushes is lost to it",
            Job.DATA_MANAGER,
            f"type: fedcxr hospital receive {hospital.site_path}",
        )
    asked = sum(peer.port is not None for peer in config.peers)
    return ok(
        f"the receiver listens; {asked} of {len(config.peers)} peer(s) have a port and answer an echo"
    )


def _search(config: Dicomweb) -> None:
    """Ask for one study.

    Raises:
        SourceFailed: the answer is none.
    """
    url = config.url.rstrip("/")
    with open_session(config) as session:
        try:
            with session.get(
                f"{url}/studies",
                params={"limit": "1"},
                headers={"Accept": "application/dicom+json"},
                timeout=(PATIENCE_SECONDS, PATIENCE_SECONDS),
                stream=True,
            ) as answer:
                answer.raise_for_status()
                head = next(answer.iter_content(HEAD_BYTES), b"").lstrip()
        except RequestException as err:
            raise failure_of(err, url) from None
    if head and not head.startswith(b"["):
        raise NotDicomweb(place_of(url), "its answers are no lists of data sets")


def _of_failure(err: SourceFailed, config: Dicomweb) -> Finding:
    what = str(err).partition(". ")[0]
    if isinstance(err, AccessFileUnusable):
        return fail(what, Job.DATA_MANAGER, "mend that file, or name another one under dicomweb")
    if isinstance(err, PacsAbsent):
        do = f"see that the PACS runs, and let this machine reach {place_of(config.url)}"
        return fail(what, Job.NETWORK, do)
    if isinstance(err, PacsNotTrusted):
        do = "name the authority that signed its certificate as dicomweb.ca_path, and its host as it stands there"
        return fail(what, Job.DATA_MANAGER, do)
    if isinstance(err, NotDicomweb):
        do = "set dicomweb.url to the root of its DICOMweb service: https://pacs.example/dicom-web"
        return fail(what, Job.DATA_MANAGER, do)
    return fail(what, Job.DATA_MANAGER, "correct user and password_path under dicomweb")


def _echo(config: Receiver, peer: Peer) -> Finding | None:
    """What keeps a machine that pushes from answering; None if it does, or has no port to be asked at."""
    try:
        addresses_of(peer.host)
    except AddressUnknown:
        return fail(
            f"the host {peer.host} (receiver.peers) is not known to this machine's name server",
            Job.DATA_MANAGER,
            "correct it in the profile, or give the number of its address",
        )
    if peer.port is None:
        return None
    keep_quiet("pynetdicom")
    entity = AE(config.ae_title)
    entity.connection_timeout = entity.network_timeout = PATIENCE_SECONDS
    entity.acse_timeout = entity.dimse_timeout = PATIENCE_SECONDS
    entity.add_requested_context(VERIFICATION)
    shown = f"{peer.ae_title} at {peer.host}:{peer.port}"
    association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title)
    if association.is_rejected:
        do = f"have its administrator let {config.ae_title} call it, or correct its ae_title in the profile"
        return fail(f"{shown} does not let {config.ae_title} in", Job.DATA_MANAGER, do)
    if not association.is_established:
        do = f"see that it runs, and let this machine reach {peer.host}:{peer.port}"
        return fail(f"{shown} does not answer", Job.NETWORK, do)
    status = association.send_c_echo().get("Status")
    association.release()
    if status != 0:
        return warn(f"{shown} does not answer an echo", Job.DATA_MANAGER, "ask its administrator")
    return None


def _listens(config: Receiver) -> bool:
    """Whether the port is taken; nobody is disturbed by the question."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as err:
            return err.errno in {errno.EADDRINUSE, errno.EACCES}
    return False
