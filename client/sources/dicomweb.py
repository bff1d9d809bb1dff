"""A PACS that is asked over DICOMweb (PS3.18): QIDO-RS finds the radiographs, WADO-RS fetches them.

Only the three searches are used that every server offers: studies, the series of a study, the instances of
a series; and only days are asked for, since servers have been seen to lose matches from their second page on
when they are asked for modalities. Days and modalities are looked at here, whatever the server matched.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from dicomweb_client.web import DICOMwebClient
from requests.exceptions import RequestException

from client.config import Dicomweb
from client.dicom.rejection import Reason
from client.sources.answers import (
    PAGE_SIZE,
    Answer,
    NotAnAnswer,
    fingerprint,
    pages,
    text,
    texts,
)
from client.sources.item import Item, ItemLost, SourceFailed
from client.sources.kinds import RADIOGRAPHS, REPORT_MODALITY, REPORTS, is_uid
from client.sources.multipart import instance_in
from client.sources.pacs import (
    PAUSES,
    NotDicomweb,
    PacsNotTrusted,
    PacsRefuses,
    failure_of,
    is_absent,
    open_session,
    persist,
    place_of,
)

STUDY_DATE, MODALITY, MODALITIES = "00080020", "00080060", "00080061"
STUDY_UID, SERIES_UID, INSTANCE_UID, KIND = "0020000D", "0020000E", "00080018", "00080016"
PERSON = ("00080050", "00100010", "00100020", "00100030", "00100040", STUDY_DATE)
"""What a PACS corrects when a study was filed under the wrong person."""

_Study = tuple[str, str]
"""A study, and what changes when it is filed anew."""

_TIMEOUTS_SECONDS = (10.0, 60.0)
_ACCEPT_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK_BYTES = 2**18
_NUM_ASKING = 4
_MAX_LOST_IN_A_ROW = 5
_WANTED_KINDS = frozenset({"", *RADIOGRAPHS, *REPORTS})
"""An answer without a kind is taken: the reader will see."""


class DicomwebSource:
    """Radiographs, and reports if their modality is asked for, of the studies that a PACS holds."""

    origin = "dicomweb"
    mirrored = True

    def __init__(
        self, config: Dicomweb, *, max_file_bytes: int, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            config: whom to ask for what.
            max_file_bytes: of a longer instance only one byte more is fetched, for the reader to refuse.
            pauses: seconds between attempts.

        Raises:
            AccessFileUnusable: a file that the profile names for access cannot be used.
        """
        self._config = config
        self._url = config.url.rstrip("/")
        self._max_file_bytes = max_file_bytes
        self._pauses = pauses
        self._session = open_session(config)
        self._client = DICOMwebClient(
            self._url, session=self._session, permissive_uid=True, timeout=_TIMEOUTS_SECONDS
        )
        self._client.set_http_retry_params(retry=False)
        self._num_lost_in_a_row = 0

    def items(self) -> Iterator[Item]:
        """Every instance that is asked for, by study, series and instance.

        Raises:
            SourceFailed: the list is not to be had as a whole.
        """
        studies = sorted(self._studies().items())
        yield from _ahead(lambda study: self._instances_of(*study), studies)

    def file_of(self, item: Item, scratch: Path) -> Path:
        """Fetch an instance, in the encoding that the PACS keeps it in.

        Raises:
            ItemLost: the PACS does not give this one.
            SourceFailed: the PACS no longer gives any.
        """
        descriptor, name = tempfile.mkstemp(dir=scratch, suffix=".dcm")
        os.close(descriptor)
        path = Path(name)
        try:
            # While nothing is to be had, one attempt for each item is enough.
            pauses = () if self._num_lost_in_a_row else self._pauses
            persist(partial(self._fetch, item.name.split("/"), path), pauses)
        except RequestException as err:
            path.unlink()
            raise self._lost(err) from None
        self._num_lost_in_a_row = 0
        return path

    def settled(self, item: Item) -> None:
        """Nothing: the PACS keeps what it has."""

    def _studies(self) -> dict[str, str]:
        """Studies of the asked dates and modalities -> what changes when one is filed anew."""
        asked = set(self._config.modalities)
        # Reports are wanted of the radiographs' studies, not of everything else that is reported on.
        pictures = (asked - {REPORT_MODALITY}) or asked
        return {
            text(study, STUDY_UID): fingerprint(study, PERSON)
            for study in self._search(self._client.search_for_studies, STUDY_UID, self._dates)
            if self._is_in_time(text(study, STUDY_DATE))
            and pictures.intersection(texts(study, MODALITIES) or pictures)
        }

    @property
    def _dates(self) -> dict[str, str]:
        since, until = self._config.since, self._config.until
        if since is None and until is None:
            return {}
        first, last = (f"{day:%Y%m%d}" if day else "" for day in (since, until))
        return {"StudyDate": f"{first}-{last}"}

    def _is_in_time(self, day: str) -> bool:
        """Whether a study is from the asked days; one without a date is if no days are asked for."""
        since, until = self._config.since, self._config.until
        if since is None and until is None:
            return True
        after = since is None or f"{since:%Y%m%d}" <= day
        before = until is None or day <= f"{until:%Y%m%d}"
        return bool(day) and after and before

    def _instances_of(self, study: str, version: str) -> list[Item]:
        if not is_uid(study):
            return [_misnamed(study)]
        every_series = self._search(partial(self._client.search_for_series, study), SERIES_UID, {})
        found = [
            item
            for series in every_series
            if text(series, MODALITY) in self._config.modalities
            for item in self._instances_in(study, text(series, SERIES_UID), version)
        ]
        return sorted(found, key=lambda item: item.name)

    def _instances_in(self, study: str, series: str, version: str) -> Iterator[Item]:
        if not is_uid(series):
            yield _misnamed(f"{study}/{series}")
            return
        search = partial(self._client.search_for_instances, study, series)
        for instance in self._search(search, INSTANCE_UID, {}):
            uid = text(instance, INSTANCE_UID)
            if not is_uid(uid):
                yield _misnamed(f"{study}/{series}/{uid}")
            elif text(instance, KIND) in _WANTED_KINDS:
                yield Item(name=f"{study}/{series}/{uid}", version=version)

    def _search(
        self, search: Callable[..., object], key: str, filters: dict[str, str]
    ) -> list[Answer]:
        def from_offset(offset: int) -> object:
            ask = partial(search, search_filters=filters, limit=PAGE_SIZE, offset=offset)
            return persist(ask, self._pauses)

        try:
            return list(pages(from_offset, key))
        except NotAnAnswer:
            raise NotDicomweb(
                place_of(self._url), "its answers are no lists of data sets"
            ) from None
        except RequestException as err:
            raise failure_of(err, self._url) from None

    def _fetch(self, uids: list[str], path: Path) -> None:
        study, series, instance = uids
        url = f"{self._url}/studies/{study}/series/{series}/instances/{instance}"
        headers = {"Accept": _ACCEPT_AS_STORED}
        with self._session.get(
            url, headers=headers, stream=True, timeout=_TIMEOUTS_SECONDS
        ) as answer:
            answer.raise_for_status()
            kind = answer.headers.get("Content-Type", "")
            room = self._max_file_bytes + 1
            with path.open("wb") as file:
                for piece in instance_in(kind, answer.iter_content(_CHUNK_BYTES)):
                    room -= file.write(piece[:room])
                    if not room:
                        return

    def _lost(self, err: RequestException) -> SourceFailed | ItemLost:
        """What a failed fetch means for the rest."""
        self._num_lost_in_a_row += 1
        failure = failure_of(err, self._url)
        gone = is_absent(err) and self._num_lost_in_a_row >= _MAX_LOST_IN_A_ROW
        if gone or isinstance(failure, PacsRefuses | PacsNotTrusted):
            return failure
        return ItemLost("The PACS does not give one of the instances that it says it has.")


def _misnamed(name: str) -> Item:
    """Something that cannot be asked for, because its name is not one."""
    return Item(name=name, version="", refused=Reason.NOT_FETCHED)


def _ahead(
    function: Callable[[_Study], Iterable[Item]], studies: Iterable[_Study]
) -> Iterator[Item]:
    """Apply a function to all, in order, a few at a time."""
    waiting: deque[Future[Iterable[Item]]] = deque()
    with ThreadPoolExecutor(_NUM_ASKING) as pool:
        for study in studies:
            waiting.append(pool.submit(function, study))
            if len(waiting) > 2 * _NUM_ASKING:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
