"""The profile alone says where radiographs come from, and what in the data folder is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from client.config import Dicomweb, Peer, Receiver, SiteConfig
from client.sources.configured import sources_of


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """A hospital that keeps everything in its data folder."""
    for name in ("radiograph", "ca.crt", "labels.csv", "out.txt", "key", "state/cache/x", "pacs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=tmp_path / "ca.crt",
        data_path=tmp_path,
        state_path=tmp_path / "state",
        labels_path=tmp_path / "labels.csv",
        opt_out_path=tmp_path / "out.txt",
        cache_key_path=tmp_path / "key",
        image_size=16,
        dicomweb=Dicomweb(url="https://pacs.example/", password_path=tmp_path / "pacs"),
        receiver=Receiver(peers=(Peer(ae_title="A", host="127.0.0.1"),)),
    )


def test_every_configured_source_is_there_and_none_is_asked(site: SiteConfig) -> None:
    sources = sources_of(site)
    assert [source.origin for source in sources] == ["folder", "dicomweb", "received"]
    assert [source.mirrored for source in sources] == [True, True, False]
    (only,) = sources_of(replace(site, data_path=None, dicomweb=None))
    assert only.origin == "received"


def test_the_hospitals_own_files_are_no_data_wherever_they_lie(site: SiteConfig) -> None:
    folder = sources_of(site)[0]
    assert [item.name for item in folder.items()] == ["radiograph"]
    assert {item.name for item in sources_of(replace(site, dicomweb=None))[0].items()} == {
        "pacs",
        "radiograph",
    }


def test_nothing_is_received_before_the_receiver_first_runs(site: SiteConfig) -> None:
    assert list(sources_of(site)[2].items()) == []
