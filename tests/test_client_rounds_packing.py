"""What a change goes through before it leaves: rounded once, kept as it will be sent, and what was rounded away remembered."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.config import SiteConfig
from client.kept import KeptRounds, study_folder
from client.packing import RESIDUAL
from federation.config import StudyConfig, Transport, study_digest, study_json
from federation.encoding import Encoding
from federation.messages import Instruction
from federation.shipment import open_inline
from federation.strict_yaml import dump_yaml
from model.arrays import Arrays
from model.tensor_file import copy_tensors
from tests.toys.answers import change_of, first_round, trained
from tests.toys.open_rounds import FULL, LOCAL, LORA, MakeHospital, StudyOf, as_sent, without_cache


@pytest.fixture
def site(make_hospital: MakeHospital, memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, LORA, num_sites=1, min_sites=1)


@pytest.fixture
def full(study: StudyConfig, random_weights: Arrays) -> Instruction:
    """The instruction of the first round."""
    return first_round(study, random_weights)


def with_transport(study: StudyConfig, upload: Encoding) -> StudyConfig:
    return replace(study, transport=Transport(upload=upload, shard_values=2**15))


@pytest.mark.parametrize("upload", ["fp32", "bf16", "int8", "int4"])
def test_asked_again_a_hospital_sends_the_same_bytes_though_rounding_is_random(
    site: SiteConfig, study: StudyConfig, full: Instruction, upload: Encoding
) -> None:
    asked = replace(full, study=study_json(with_transport(study, upload)))
    first = trained(site, asked)
    again = trained(without_cache(site), asked)
    assert first.change.encoding == upload
    assert again.change.digest == first.change.digest
    assert as_sent(again) == as_sent(first)
    remembered = list(site.state_path.glob(f"studies/*/round-*/{RESIDUAL}"))
    assert len(remembered) == (upload == "int4")


DIES_BEFORE_IT_SENDS = """
import os, signal, sys

sys.path.insert(0, sys.argv[1])
from client import rounds
from client.config import load_site
from federation.messages import Instruction
from federation.shipment import inline_shipment
from model.arrays import load_arrays
from pathlib import Path

rounds.let_leave = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
weights = inline_shipment(load_arrays(Path(sys.argv[3])))
study = Path(sys.argv[4]).read_text()
rounds.answer(
    load_site(Path(sys.argv[2])), Instruction(study=study, round_number=1, weights=weights)
)
"""


@pytest.mark.slow
def test_a_hospital_killed_between_finishing_and_sending_sends_what_it_had_finished(
    site: SiteConfig, study: StudyConfig, full: Instruction, memory_path: Path
) -> None:
    coarse = with_transport(study, "int4")
    asked = replace(full, study=study_json(coarse))
    profile, weights = memory_path / "site.yaml", memory_path / "weights"
    chosen = {"site_name": site.site_name, "coordinator": site.coordinator}
    paths = {"ca_path": site.ca_path, "data_path": site.data_path, "state_path": site.state_path}
    texts = {name: str(path) for name, path in paths.items()}
    profile.write_text(dump_yaml({**chosen, **texts, "image_size": site.image_size}))
    copy_tensors(weights, dict(open_inline(full.weights)))
    (memory_path / "study").write_text(asked.study)
    root = str(Path(__file__).parents[1])
    words = map(str, (profile, weights, memory_path / "study"))
    command = [sys.executable, "-c", DIES_BEFORE_IT_SENDS, root, *words]
    died = subprocess.run(command, check=False, timeout=240)
    assert died.returncode == -signal.SIGKILL
    kept = KeptRounds(study_folder(site, study_digest(coarse))).read(1)
    assert kept is not None
    sent = trained(without_cache(site), asked)
    assert sent.change.digest == kept.update.change.digest
    assert sent.content == kept.path.read_bytes()


def test_what_rounding_took_from_one_round_is_in_the_next_one_of_the_stage_and_no_further(
    site: SiteConfig, study: StudyConfig, full: Instruction, random_weights: Arrays
) -> None:
    """With weights that do not move, two rounds leave what an exact hospital would, but for one rounding."""
    still = replace(LOCAL, learning_rate=1e-12)
    stages = (replace(FULL, local=still), replace(FULL, local=still, num_rounds=1))
    coarse = with_transport(replace(study, stages=stages), "int4")
    asked = replace(full, study=study_json(coarse))
    trained(site, asked)
    kept = KeptRounds(study_folder(site, study_digest(coarse)))
    residual = dict(kept.residual(2, first=1))
    assert residual.keys() == random_weights.keys()
    assert not any(tensor.any() for tensor in residual.values())
    rng = np.random.default_rng(1)
    grown = {
        name: rng.uniform(0.1, 0.5, tensor.shape).astype(np.float32)
        for name, tensor in residual.items()
    }
    copy_tensors(kept.round_path(1) / RESIDUAL, grown)
    second = change_of(trained(site, replace(asked, round_number=2)))
    np.testing.assert_allclose(second["head.weight"], grown["head.weight"], atol=0.5 / 7)
    third = change_of(trained(site, replace(asked, round_number=3)))
    assert max(np.abs(tensor).max() for tensor in third.values()) < 1e-6
