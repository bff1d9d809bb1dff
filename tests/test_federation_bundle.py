"""The bundle is the same everywhere and holds nothing that could run."""

import hashlib
import io
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.install import install_from_fab
from flwr.common.config import get_fab_config

from federation.bundle import (
    bundle_bytes,
    bundle_digest,
    bundle_files,
    bundle_version,
    write_bundle,
)


def test_two_folders_get_the_same_bundle_at_the_announced_digest(tmp_path: Path) -> None:
    paths = [write_bundle(tmp_path / name) for name in ("one", "two")]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert digests == [bundle_digest()] * 2


def test_the_bundle_holds_configuration_only() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_bytes())) as bundle:
        assert set(bundle.namelist()) == {"pyproject.toml", "release.yaml", ".info/CONTENT"}


def test_the_bytes_do_not_depend_on_a_compressor() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_bytes())) as bundle:
        assert {entry.compress_type for entry in bundle.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in bundle.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_another_entry_point_is_another_digest() -> None:
    assert bundle_digest(bundle_files(client_component="evil:app")) != bundle_digest()


def test_flower_reads_the_entry_points_from_it() -> None:
    app = get_fab_config(bundle_bytes())["tool"]["flwr"]["app"]
    assert app["components"] == {"serverapp": "server.app:app", "clientapp": "client.app:app"}
    assert app["config"] == {"study": "", "task": "rounds"}


def test_flower_unpacks_it_under_the_name_that_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    folder = install_from_fab(bundle_bytes(), skip_prompt=True)
    assert write_bundle(tmp_path).stem == folder.name.replace(
        bundle_version(), bundle_version().replace(".", "-")
    )
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["version"] == bundle_version()
