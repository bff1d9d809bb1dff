"""The command that receives radiographs: what it says, and how it ends, be it killed."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from client.config import SiteConfig
from client.sources.periodic import every
from simulation.dicom_writer import write_radiograph
from tests.pacs.receiving import (
    PATIENCE_SECONDS,
    THEM,
    US,
    calling,
    radiograph,
    site_that_receives,
    wait_for,
    waiting,
)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return site_that_receives(tmp_path)


def test_the_command_says_what_a_profile_without_a_receiver_lacks(
    site: SiteConfig, refused: Callable[..., str]
) -> None:
    path = write_profile(site)
    profile = path.read_text().replace("receiver:", "# ") + "data_path: data\n"
    path.write_text(profile)
    assert "has no `receiver`" in refused("hospital", "receive", path)


def write_profile(site: SiteConfig) -> Path:
    assert site.receiver is not None
    path = site.state_path.parent / "site.yaml"
    path.write_text(
        "site_name: a\ncoordinator: localhost:1\nca_path: ca.crt\nstate_path: state\nimage_size: 16\n"
        f"receiver: {{port: {site.receiver.port}, peers: [{{ae_title: {THEM}, host: 127.0.0.1}}]}}\n"
    )
    return path


@contextmanager
def receiver_process(site: SiteConfig) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "cli",
        "hospital",
        "receive",
        str(write_profile(site)),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["state"] == "listening"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_receiver_that_is_killed_in_the_midst_leaves_whole_files_and_all_that_it_acknowledged(
    site: SiteConfig,
) -> None:
    radiographs = [radiograph(number, size=300) for number in range(60)]
    acknowledged = []
    with receiver_process(site) as process, calling(site) as association:
        for number, sent in enumerate(radiographs):
            if number == 25:
                threading.Timer(0.01, process.kill).start()
            answer = association.send_c_store(sent)
            if not answer:
                break
            acknowledged.append(str(sent.SOPInstanceUID))
    stored = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in waiting(site)}
    assert 25 <= len(acknowledged) < 60
    assert set(acknowledged) <= stored.keys()
    assert all(stored[r.SOPInstanceUID] == r for r in radiographs if r.SOPInstanceUID in stored)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")
def test_another_vendors_sender_is_understood_and_a_signal_ends_the_command_cleanly(
    site: SiteConfig, tmp_path: Path
) -> None:
    assert site.receiver is not None
    write_radiograph(tmp_path / "sent.dcm", radiograph(1))
    words = ["storescu", "-aet", THEM, "-aec", US, "127.0.0.1", str(site.receiver.port), "sent.dcm"]
    with receiver_process(site) as process:
        subprocess.run(words, check=True, cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    assert [json.loads(line)["state"] for line in said.splitlines()] == ["received", "stopped"]
    (path,) = waiting(site)
    assert dcmread(path).PixelData == dcmread(tmp_path / "sent.dcm").PixelData


@pytest.mark.slow
def test_a_command_is_typed_again_and_again_and_ended_with_what_it_runs_beside(
    site: SiteConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def has_said(words: str) -> bool:
        said.append(capfd.readouterr().out)
        return words in "".join(said)

    with every(0.001, ["hospital", "receive", str(write_profile(site))]):
        wait_for(lambda: has_said("waiting for radiographs"))
    assert has_said("stopped")
    with every(None, ["hospital", "receive", str(write_profile(site))]):
        pass
    assert capfd.readouterr().out == ""
