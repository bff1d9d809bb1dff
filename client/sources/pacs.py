"""A PACS that is asked over HTTP: who asks, whom it trusts, how often it tries again, and whose job a failure is."""

import ssl
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from requests import PreparedRequest, Session
from requests.auth import AuthBase
from requests.exceptions import ChunkedEncodingError, HTTPError, RequestException, SSLError, Timeout
from requests.exceptions import ConnectionError as NoConnection

from client.config import Dicomweb
from client.sources.item import SourceFailed
from client.sources.multipart import CutShort
from client.sources.quiet import keep_quiet

PAUSES = (1.0, 4.0, 16.0)
"""Seconds before the second, third and fourth attempt."""

Answer = TypeVar("Answer")

_OVERLOADED: set[int] = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_ABSENT: set[int] = {
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_UNWELCOME: set[int] = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class AccessFileUnusable(SourceFailed):
    """A file that is needed to be let in, or to know whom to trust, must not be used as it is."""

    def __init__(self, path: Path, key: str, reason: str) -> None:
        super().__init__(
            f"The file {path}, `{key}` of `dicomweb`, cannot be used: {reason}. The data manager mends that "
            "and types the same command again."
        )


class PacsAbsent(SourceFailed):
    """Nobody answers, or only to say that it is not possible now."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"The PACS at {place} cannot be asked now ({reason}). The operator sees to it that it runs and can "
            "be reached from here, or the data manager corrects `dicomweb: url`; then type the same command "
            "again."
        )


class PacsNotTrusted(SourceFailed):
    """The server does not prove to be the one that is meant."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The PACS at {place} does not prove that it is the one meant by `dicomweb: url`. The data manager "
            "writes the host as it stands in the PACS's certificate, and names the authority that signed that "
            "certificate as `ca_path`; if both are right, somebody else answers there: tell the operator."
        )


class PacsRefuses(SourceFailed):
    """Name, password or token are not accepted."""

    def __init__(self, place: str, status: int) -> None:
        super().__init__(
            f"The PACS at {place} refuses access (HTTP status {status}). The data manager corrects `user` and "
            "the file `password_path` under `dicomweb`, or the administrator of the PACS lets this user read; "
            "then type the same command again."
        )


class NotDicomweb(SourceFailed):
    """Whatever answers does not speak the protocol."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"What answers at {place} is not DICOMweb ({reason}). The data manager sets `dicomweb: url` to the "
            "root of the PACS's DICOMweb service, such as https://pacs.example/dicom-web."
        )


class _Authorization(AuthBase):
    """One header; requests leaves it out when it is sent on to another machine."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def open_session(config: Dicomweb) -> Session:
    """Everything that holds for all requests; nothing is asked yet.

    Raises:
        AccessFileUnusable: the certificate or the password file is missing, damaged or open to others.
    """
    keep_quiet("dicomweb_client", "urllib3", "requests", "retrying")
    session = Session()
    # The profile alone decides who is asked and how: no proxy, password or certificate from elsewhere.
    session.trust_env = False
    # Compressed on the fly, radiographs arrive many times more slowly.
    session.headers["Accept-Encoding"] = "identity"
    session.verify = _authority(config.ca_path) if config.ca_path else _system_authorities()
    secret = _first_line(config.password_path) if config.password_path else ""
    if config.user:
        session.auth = _Authorization(b"Basic " + b64encode(f"{config.user}:{secret}".encode()))
    elif secret:
        session.auth = _Authorization(b"Bearer " + secret.encode())
    return session


def persist(ask: Callable[[], Answer], pauses: Sequence[float]) -> Answer:
    """Ask until there is an answer, or an error that will not pass, or no pause is left.

    Raises:
        RequestException: the last attempt's.
    """
    for pause in pauses:
        try:
            return ask()
        except RequestException as err:
            if not _may_pass(err):
                raise
        time.sleep(pause)
    return ask()


def is_absent(err: RequestException) -> bool:
    """Whether the PACS as a whole is not there, rather than unwilling to give one thing."""
    status = _status_of(err)
    if status is not None:
        return status in _ABSENT
    return isinstance(err, NoConnection | Timeout) and not isinstance(err, SSLError)


def failure_of(err: RequestException, url: str) -> SourceFailed:
    """What to tell a person of an error that does not pass; never the error's own text, which quotes identifiers."""
    place, status = place_of(url), _status_of(err)
    if isinstance(err, SSLError):
        return PacsNotTrusted(place)
    if status is not None:
        return _failure_of_status(status, place)
    if isinstance(err, Timeout):
        return PacsAbsent(place, "it does not answer in time")
    if isinstance(err, NoConnection | CutShort):
        return PacsAbsent(place, "no connection")
    return NotDicomweb(place, "its answer is something else")


def place_of(url: str) -> str:
    """The machine that an address leads to, without anything else that the address may hold."""
    parts = urlsplit(url)
    return f"{parts.hostname}" if parts.port is None else f"{parts.hostname}:{parts.port}"


def _failure_of_status(status: int, place: str) -> SourceFailed:
    if status in _UNWELCOME:
        return PacsRefuses(place, status)
    if status in _OVERLOADED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PacsAbsent(place, f"HTTP status {status}")
    return NotDicomweb(place, f"HTTP status {status}")


def _status_of(err: RequestException) -> int | None:
    return (
        err.response.status_code
        if isinstance(err, HTTPError) and err.response is not None
        else None
    )


def _may_pass(err: RequestException) -> bool:
    status = _status_of(err)
    if status is not None:
        return status in _OVERLOADED or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    passing = NoConnection | Timeout | ChunkedEncodingError | CutShort
    return isinstance(err, passing) and not isinstance(err, SSLError)


def _system_authorities() -> str | bool:
    """Where this system keeps the authorities that it trusts; True stands for the ones that Python brings."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _authority(path: Path) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise AccessFileUnusable(path, "ca_path", "it is not a readable certificate") from None
    return str(path)


def _first_line(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise AccessFileUnusable(path, "password_path", "it is not a readable text file") from None
    if mode & 0o077:
        reason = f"its mode is {mode:04o} and must be 0600 (type: chmod 600 {path})"
        raise AccessFileUnusable(path, "password_path", reason)
    if not lines or not lines[0].isprintable() or not lines[0]:
        raise AccessFileUnusable(path, "password_path", "its first line holds no password or token")
    return lines[0]
