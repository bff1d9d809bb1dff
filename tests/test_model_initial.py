"""The first weights of networks and adapters: decided by a seed, and drawn into files of any size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from model.adapter import initial_adapter
from model.arrays import digest_arrays, load_arrays
from model.checkpoint import network_arrays
from model.conditioning import Schema
from model.config import AdapterConfig, ModelConfig, model_config
from model.initial import initial_network, write_initial_adapter, write_initial_network
from model.transformer import RectifiedFlowTransformer

TINY = model_config("tiny", 32)
ODD = ModelConfig(
    size="odd",
    image_size=30,
    patch_size=5,
    dim=36,
    depth=11,  # so that the order of names is not that of the layers: 10 comes before 2
    head_dim=12,
    hidden_dim=19,
    bottleneck_dim=7,
    num_registers=3,
    context_start=2,
    num_channels=2,
)
FEW = Schema(("edema",))


def drawn_in_one_go(config: ModelConfig, schema: Schema, seed: int) -> str:
    """The digest of a network whose layers are filled where they are, one after the other."""
    network = RectifiedFlowTransformer(config, schema)
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        match layer:
            case nn.Linear():
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            case nn.Embedding():
                nn.init.normal_(layer.weight, std=0.02, generator=generator)
            case nn.RMSNorm():
                nn.init.ones_(layer.weight)
            case _:
                pass
    for silent in (network.mod, network.head_mod, network.head, network.mod_offset):
        nn.init.zeros_(silent.weight)
    return digest_arrays(network_arrays(network))


@pytest.mark.parametrize(
    ("config", "schema", "seed"),
    [
        (TINY, Schema(), 1),
        (ODD, FEW, 2**62 + 5),
        pytest.param(model_config("small", 64), Schema(), 7, marks=pytest.mark.slow),
    ],
)
def test_memory_and_file_hold_the_bits_that_the_layers_draw_in_their_order(
    memory_path: Path, config: ModelConfig, schema: Schema, seed: int
) -> None:
    expected = drawn_in_one_go(config, schema, seed)
    assert digest_arrays(network_arrays(initial_network(config, schema, seed))) == expected
    file = write_initial_network(memory_path / "first", config, schema, seed)
    assert digest_arrays(file) == expected
    assert digest_arrays(load_arrays(file.path)) == expected  # for others a safetensors file too
    assert file.is_ordered


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    digests = [
        digest_arrays(network_arrays(initial_network(TINY, Schema(), seed))) for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_fresh_network_can_be_trained_at_once() -> None:
    network = initial_network(TINY, Schema(), 1)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_first_weights_draw_nothing_from_the_global_generator(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    initial_network(TINY, Schema(), 1)
    write_initial_network(tmp_path / "first", ODD, FEW, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("config", [TINY, ODD])
def test_an_adapter_in_a_file_has_the_bits_of_one_in_memory(
    tmp_path: Path, config: ModelConfig
) -> None:
    adapter = AdapterConfig(rank=3, alpha=2.0)
    file = write_initial_adapter(tmp_path / "adapter", config, adapter, 9)
    arrays = initial_adapter(config, adapter, torch.Generator().manual_seed(9))
    assert digest_arrays(file) == digest_arrays(arrays)


def test_what_could_not_be_drawn_to_its_end_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.init, "ones_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_initial_network(tmp_path / "first", TINY, Schema(), 1)
    assert list(tmp_path.iterdir()) == []


MEASURED = """
import sys
from pathlib import Path
from model.conditioning import Schema
from model.config import model_config
from model.initial import write_initial_network
def peak_kib():  # of this process alone: getrusage also counts what it was forked from
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
write_initial_network(Path(sys.argv[1]) / "tiny", model_config("tiny", 64), Schema(), 1)
before = peak_kib()
write_initial_network(Path(sys.argv[1]) / "small", model_config("small", 64), Schema(), 1)
print(peak_kib() - before)
"""


@pytest.mark.slow
def test_a_file_of_92_mb_is_drawn_in_the_memory_of_its_largest_tensor(memory_path: Path) -> None:
    words = [sys.executable, "-c", MEASURED, str(memory_path)]
    grown_kib = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (memory_path / "small").stat().st_size > 92e6
    assert grown_kib < 20 * 1024  # the largest tensor has 3.5 MB
