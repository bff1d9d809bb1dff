"""Where one hospital's radiographs come from, as its profile says."""

from collections.abc import Iterator
from pathlib import Path

from client.config import SiteConfig
from client.sources.dicomweb import DicomwebSource
from client.sources.folder import FolderSource
from client.sources.item import Source
from client.sources.received import ReceivedSource, received_path


def sources_of(site: SiteConfig) -> tuple[Source, ...]:
    """All of the hospital's sources; none is asked yet.

    Raises:
        AccessFileUnusable: a file that the profile names for access to a PACS cannot be used.
    """
    return tuple(_sources_of(site))


def _sources_of(site: SiteConfig) -> Iterator[Source]:
    if site.data_path is not None:
        yield FolderSource(site.data_path, leave_out=_own_files(site))
    if site.dicomweb is not None:
        yield DicomwebSource(site.dicomweb, max_file_bytes=site.reading.max_file_bytes)
    if site.receiver is not None:
        yield ReceivedSource(received_path(site.state_path))


def _own_files(site: SiteConfig) -> list[Path]:
    """What may lie inside the data folder without being data."""
    named = (
        *(site.state_path, site.ca_path, site.labels_path, site.opt_out_path),
        *(site.cache_key_path, site.public_key_path),
    )
    access = (site.dicomweb.password_path, site.dicomweb.ca_path) if site.dicomweb else ()
    return [path for path in (*named, *access) if path is not None]
