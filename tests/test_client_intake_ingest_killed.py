"""An ingest that is killed at any instant leaves a whole cache, and the next one makes up for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client.cache.layout import cache_path
from client.cache.records import open_cache_of, verify_cache
from client.config import load_site
from model.conditioning import FINDINGS
from simulation.hospitals import example_sites
from simulation.phantom_sites import write_phantom_site

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
KILLER = ROOT / "tests" / "faults" / "killed_ingest.py"
KILL_EVERY = int(os.environ.get("FEDCXR_KILL_EVERY", "11"))
"""Instants from one kill to the next; `make faults` dies at every one."""
PROFILE = """\
site_name: a
coordinator: "localhost:1"
ca_path: ca.crt
data_path: data/dicom
labels_path: data/labels.csv
state_path: state
image_size: 32
"""


@pytest.mark.parametrize(("what", "key"), [("add", ""), ("rebuild", "5a" * 32)])
def test_killed_at_any_instant_and_typed_again_gives_what_it_would_have_given(
    memory_path: Path, what: str, key: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if key:
        environment["FEDCXR_CACHE_KEY"] = key
    run = subprocess.run(
        [sys.executable, KILLER, memory_path, str(KILL_EVERY), what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    *kills, last = run.stdout.splitlines()
    assert int(last.split()[0]) > 100
    assert len(kills) == -(-int(last.split()[0]) // KILL_EVERY)
    assert {line.split(": ")[1] for line in kills} == {"same"}


def test_a_real_ingest_killed_while_it_reads_goes_on_where_it_was(memory_path: Path) -> None:
    (hospital,) = example_sites(1, num_records=60, seed=1)
    write_phantom_site(memory_path / "data", hospital, FINDINGS, 32)
    (memory_path / "site.yaml").write_text(PROFILE)
    command = [sys.executable, "-m", "cli", "hospital", "ingest", str(memory_path / "site.yaml")]
    script = "import client.cache.shards as s; s.MAX_RECORDS = 4; import cli; cli.main()"
    slow = [sys.executable, "-c", script, *command[3:]]
    site = load_site(memory_path / "site.yaml")
    with subprocess.Popen(slow, cwd=ROOT, stdout=subprocess.DEVNULL) as reading:
        wait_for_shards(cache_path(site), at_least=3)
        reading.send_signal(signal.SIGKILL)
    run = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(run.stdout)
    assert facts["num_usable"] == 60
    assert 0 < facts["num_read"] <= facts["num_files"] - 8
    killed = open_cache_of(site)
    verify_cache(cache_path(site))
    shutil.rmtree(cache_path(site))
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    undisturbed = open_cache_of(site)
    assert (killed.images[:] == undisturbed.images[:]).all()
    assert (killed.patients == undisturbed.patients).all()


def wait_for_shards(path: Path, *, at_least: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(path.glob("stock-*/*.shard"))) < at_least:
        assert time.monotonic() < deadline, "nothing is read"
        time.sleep(0.002)
