"""The costs of every size, against the figures of its design."""

import pytest

from model.table import SizeRow, render_table, size_table


@pytest.fixture(scope="module")
def rows() -> dict[str, SizeRow]:
    return {row.size: row for row in size_table([512])}


@pytest.mark.slow
def test_the_largest_size_costs_what_its_design_says(rows: dict[str, SizeRow]) -> None:
    largest = rows["xl-1.3b"]
    assert largest.num_parameters == 1_336_646_656
    assert largest.num_tokens == 1024 + 32
    # 3.00 and 9.00 TFLOP counted by hand: 2 per weight and token, 4 per pair of tokens and channel.
    assert largest.forward_flops == pytest.approx(3.00e12, rel=0.002)
    assert largest.training_flops == pytest.approx(9.00e12, rel=0.002)
    assert largest.update_bytes == 4 * 1_336_646_656
    assert largest.num_adapter_parameters == 15_527_936
    assert largest.adapter_bytes == 4 * 15_527_936


@pytest.mark.slow
def test_every_size_is_in_the_table_with_its_adapter(rows: dict[str, SizeRow]) -> None:
    adapters = {size: row.num_adapter_parameters for size, row in rows.items()}
    assert adapters == {
        "tiny": 98_304,
        "small": 1_179_648,
        "base": 3_145_728,
        "large": 7_667_712,
        "xl-1.3b": 15_527_936,
    }


@pytest.mark.slow
def test_attention_is_counted(rows: dict[str, SizeRow]) -> None:
    tokens, dim, depth, hidden, start = 1056, 384, 12, 1024, 3
    tokens = rows["small"].num_tokens
    lengths = [1024] * start + [tokens] * (depth - start)
    blocks = sum(
        2 * length * (4 * dim**2 + 3 * dim * hidden) + 4 * length**2 * dim for length in lengths
    )
    outside = rows["small"].forward_flops - blocks
    # Patches in and out: 2 x 1024 x (256 x 128 + 128 x 384 + 384 x 256); the rest is once an image.
    assert 0.36e9 < outside < 0.4e9


@pytest.mark.slow
def test_half_the_bytes_travel_in_half_precision(rows: dict[str, SizeRow]) -> None:
    for row in rows.values():
        assert 2 * row.half_update_bytes == row.update_bytes
        assert 2 * row.half_adapter_bytes == row.adapter_bytes


@pytest.mark.slow
def test_an_adapter_of_the_largest_size_trains_in_an_eighth_of_the_memory(
    rows: dict[str, SizeRow],
) -> None:
    largest = rows["xl-1.3b"]
    # 16 bytes a parameter for weights, gradients and moments, 2 for the copy in bfloat16.
    assert largest.state_bytes == 18 * 1_336_646_656
    assert largest.adapter_state_bytes == 2 * 1_336_646_656 + 16 * 15_527_936
    assert largest.recomputed_activation_bytes < 0.1 * largest.activation_bytes
    assert largest.recomputed_flops == 4 * largest.forward_flops


@pytest.mark.slow
def test_the_printed_table_has_one_aligned_line_per_size(rows: dict[str, SizeRow]) -> None:
    lines = render_table(list(rows.values())).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == ["size", *rows]
    expected = ["xl-1.3b", "512", "1,336,646,656", "1,056", "3.001", "9.003", "12.004", "24.060"]
    assert lines[-1].split()[:8] == expected
    assert lines[-1].split()[-4:] == ["5,346.6", "2,673.3", "62.1", "31.1"]
