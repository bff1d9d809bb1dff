"""Sizes are known by name, nonsense is refused with a sentence, and torch stays out."""

import subprocess
import sys
from dataclasses import replace

import pytest

from model.config import SIZES, AdapterConfig, model_config


def test_every_size_fits_a_radiograph_of_512_pixels() -> None:
    configs = [model_config(size, 512) for size in SIZES]
    assert [config.size for config in configs] == ["tiny", "small", "base", "large", "xl-1.3b"]
    assert [config.patch_size for config in configs] == [8, 16, 16, 16, 16]


def test_a_thousand_pixels_take_as_many_tokens_as_512() -> None:
    counts = {model_config("base", side).num_image_tokens for side in (512, 1024)}
    assert counts == {1024}


def test_an_unknown_size_is_answered_with_the_names() -> None:
    with pytest.raises(
        ValueError, match=r"'huge': choose one of tiny, small, base, large, xl-1.3b"
    ):
        model_config("huge", 512)


def test_an_image_that_does_not_divide_into_patches_is_refused() -> None:
    with pytest.raises(
        ValueError, match="image_size 100 must be a multiple of a patch, whose side in pixels is 16"
    ):
        model_config("base", 100)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("depth", 0, "depth is 0, it must be at least 1"),
        ("image_size", 0, "image_size is 0, it must be at least 1"),
        ("num_registers", 0, "num_registers is 0, it must be at least 1"),
        ("dim", 100, "dim 100 must be a multiple of head_dim 32"),
        ("head_dim", 6, "head_dim 6 must be a multiple of 4"),
        ("context_start", 4, "must be a block number from 0 to 3"),
        ("context_start", -1, "must be a block number from 0 to 3"),
    ],
)
def test_nonsense_in_the_architecture_is_refused(field: str, value: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(model_config("tiny", 32), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rank", "alpha", "targets", "complaint"),
    [
        (0, 1.0, ("qkv",), "rank is 0"),
        (1, 0.0, ("qkv",), "alpha is 0.0"),
        (1, float("nan"), ("qkv",), "alpha is nan"),
        (1, 1.0, (), "targets are"),
        (1, 1.0, ("out",), "targets are"),
        (1, 1.0, ("qkv", "qkv"), "targets are"),
    ],
)
def test_nonsense_in_an_adapter_is_refused(
    rank: int, alpha: float, targets: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        AdapterConfig(rank=rank, alpha=alpha, targets=targets)


@pytest.mark.slow
def test_configuration_conditioning_and_manifests_do_not_load_torch() -> None:
    code = "import sys, model.config, model.conditioning, model.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
