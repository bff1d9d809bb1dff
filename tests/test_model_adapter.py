"""Adapters: silent at first, the only thing that trains, mergeable, and readable by PEFT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.adapter import adapter_shapes, attach, extract, initial_adapter, load, merge
from model.arrays import WrongModelFile, WrongTensor, digest_arrays
from model.checkpoint import load_arrays_into, network_arrays
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.initial import initial_network
from model.low_rank import truncate_adapter
from model.peft_folder import read_adapter, save_adapter
from model.transformer import RectifiedFlowTransformer

MODEL = model_config("tiny", 32)
CONFIG = AdapterConfig(rank=4, alpha=6.0)


def base_network() -> RectifiedFlowTransformer:
    """A network whose gates and head are open, the same at every call."""
    network = initial_network(MODEL, Schema(), 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def trained_adapter() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    return {
        name: (0.1 * rng.normal(size=shape)).astype(np.float32)
        for name, shape in adapter_shapes(MODEL, CONFIG).items()
    }


def answer(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    noisy = torch.randn(2, 2, 1, 32, 32, generator=generator)
    with torch.no_grad():
        image: Tensor = model(noisy, torch.full((2, 2), 0.6), torch.ones(2, 2, 20))
    return image


def attached(seed: int = 5) -> nn.Module:
    return attach(base_network(), CONFIG, torch.Generator().manual_seed(seed))


@pytest.mark.slow  # the first to import PEFT
def test_a_fresh_adapter_changes_nothing() -> None:
    assert torch.equal(answer(attached()), answer(base_network()))


def test_only_the_adapter_trains() -> None:
    model = attached()
    trainable = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("lora_" in name for name in trainable)
    assert len(trainable) == len(adapter_shapes(MODEL, CONFIG)) == 4 * 4 * 2


def test_a_fresh_adapter_comes_from_its_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = (digest_arrays(extract(attached(seed))) for seed in (5, 5, 6))
    assert first == second != other
    assert torch.equal(before, torch.get_rng_state())


def test_a_fresh_adapter_has_uniform_a_and_zero_b() -> None:
    arrays = initial_adapter(MODEL, CONFIG, torch.Generator().manual_seed(1))
    for name, array in arrays.items():
        if name.endswith("lora_B.weight"):
            assert not array.any()
        else:
            bound = 1 / np.sqrt(array.shape[1])
            # Standard deviation of a uniform variable is bound / sqrt(3); at least 384 numbers.
            assert array.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)
            assert np.abs(array).max() <= bound


def test_names_travel_without_a_trace_of_the_library() -> None:
    names = set(extract(attached()))
    assert names == set(adapter_shapes(MODEL, CONFIG))
    assert "blocks.3.w12.lora_B.weight" in names


def test_what_is_put_in_is_taken_out_to_the_bit() -> None:
    model = attached()
    load(model, trained_adapter())
    assert digest_arrays(extract(model)) == digest_arrays(trained_adapter())


def test_a_copy_taken_out_does_not_change_when_training_goes_on() -> None:
    model = attached()
    before = extract(model)
    load(model, trained_adapter())
    assert digest_arrays(before) == digest_arrays(extract(attached()))


def test_an_adapter_of_another_rank_is_refused_by_name() -> None:
    model = attached()
    wrong = initial_adapter(MODEL, AdapterConfig(rank=2, alpha=2.0), torch.Generator())
    with pytest.raises(
        WrongTensor, match=r"tensor blocks.0.proj.lora_A.weight is float32 \(2, 96\)"
    ):
        load(model, wrong)
    with pytest.raises(WrongTensor, match=r"blocks.0.proj.lora_A.weight"):
        merge(base_network(), wrong, CONFIG)


def test_the_merged_network_answers_like_the_attached_one() -> None:
    model = attached()
    load(model, trained_adapter())
    merged = initial_network(MODEL, Schema(), 9)
    load_arrays_into(merged, merge(base_network(), trained_adapter(), CONFIG))
    torch.testing.assert_close(answer(merged), answer(model), atol=1e-5, rtol=1e-5)
    assert float((answer(merged) - answer(base_network())).abs().max()) > 0.01


def test_a_truncated_adapter_answers_like_the_whole_one_without_its_weaker_directions() -> None:
    """At a strength of alpha * rank / whole rank, so that the product has the same factor."""
    weak = trained_adapter()
    for name, array in weak.items():  # only the first two of four directions are left
        array[(slice(2, None),) if name.endswith("lora_A.weight") else (..., slice(2, None))] = 0
    whole = attached()
    load(whole, weak)
    small_config = AdapterConfig(rank=2, alpha=CONFIG.alpha * 2 / CONFIG.rank)
    small = attach(base_network(), small_config, torch.Generator())
    load(small, truncate_adapter(weak, 2))
    torch.testing.assert_close(answer(small), answer(whole), atol=1e-5, rtol=1e-5)
    assert float((answer(small) - answer(base_network())).abs().max()) > 0.01


def test_merging_leaves_the_base_as_it_was() -> None:
    network = base_network()
    merge(network, trained_adapter(), CONFIG)
    assert digest_arrays(network_arrays(network)) == digest_arrays(network_arrays(base_network()))


def test_an_adapter_of_one_layer_changes_only_that_layer() -> None:
    config = AdapterConfig(rank=2, alpha=2.0, targets=("proj",))
    adapter = {
        name: np.ones(shape, dtype=np.float32)
        for name, shape in adapter_shapes(MODEL, config).items()
    }
    before, after = network_arrays(base_network()), merge(base_network(), adapter, config)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"blocks.{number}.proj.weight" for number in range(4)}


def test_peft_reads_our_files_and_answers_like_us(tmp_path: Path) -> None:
    from peft import PeftModel

    save_adapter(tmp_path, trained_adapter(), CONFIG)
    ours = attached()
    load(ours, trained_adapter())
    theirs = PeftModel.from_pretrained(base_network(), str(tmp_path))
    assert torch.equal(answer(theirs), answer(ours))
    assert not torch.equal(answer(theirs), answer(base_network()))


def test_an_adapter_is_read_as_it_was_saved(tmp_path: Path) -> None:
    save_adapter(tmp_path / "new", trained_adapter(), CONFIG)
    arrays, config = read_adapter(tmp_path / "new")
    assert config == CONFIG
    assert digest_arrays(arrays) == digest_arrays(trained_adapter())


def test_a_folder_without_a_whole_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelFile, match="give the folder of a saved adapter"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    with pytest.raises(WrongModelFile, match="is not a complete adapter description"):
        read_adapter(tmp_path)


def test_a_step_of_training_moves_only_the_adapter() -> None:
    model = attached()
    trainable = [value for value in model.parameters() if value.requires_grad]
    frozen = {
        name: value.detach().clone()
        for name, value in model.named_parameters()
        if not value.requires_grad
    }
    optimizer = torch.optim.AdamW(trainable, lr=0.01)
    noisy = torch.randn(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    model(noisy, torch.full((2, 1), 0.5), torch.ones(2, 1, 20)).square().mean().backward()
    optimizer.step()
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], value) for name, value in frozen.items())
    assert digest_arrays(extract(model)) != digest_arrays(extract(attached()))
