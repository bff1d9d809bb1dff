"""Products of a tall and a wide factor, handled without ever being written out.

The product B A of a layer's factors has as many numbers as the layer. Its norm, its singular values and its nearest
products of a lower rank (Eckart and Young 1936, https://doi.org/10.1007/BF02288367) are all found from triangles R
with R'R = B'B and with R'R = A A', whose side is the rank. Adapters are those of `model.adapter`; the coordinator reads
this without waiting for torch.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from model.arrays import Arrays
from model.tensors import Shapes

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""What the names of a layer's wide factor A and of its tall factor B end with."""
WELL_CONDITIONED = 1e-4
"""Smallest share of the largest diagonal value of a triangle that the smallest one may be."""


def layers_of(names: Iterable[str]) -> list[str]:
    """The layers that have an adapter, in order of name."""
    return sorted(name.removesuffix(DOWN) for name in names if name.endswith(DOWN))


def shapes_at_rank(shapes: Shapes, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter's tensors, had it another rank."""
    return {
        name: (rank, shape[1]) if name.endswith(DOWN) else (shape[0], rank)
        for name, shape in shapes.items()
    }


def truncate_adapter(adapter: Arrays, rank: int) -> dict[str, NDArray[np.float32]]:
    """The adapter of a lower rank whose products are the nearest; at its own rank the same bits.

    Coordinator and hospital both compute it, from the same bits and in float64, so that only the hospital's change has
    to travel.

    Raises:
        ValueError: the adapter's rank is lower.
    """
    result: dict[str, NDArray[np.float32]] = {}
    for layer in layers_of(adapter):
        down, up = truncate(adapter[layer + DOWN], adapter[layer + UP], rank)
        result[layer + DOWN], result[layer + UP] = down, up
    return result


def truncate(
    down: Float32[np.ndarray, "old columns"], up: Float32[np.ndarray, "rows old"], rank: int
) -> tuple[Float32[np.ndarray, "rank columns"], Float32[np.ndarray, "rows rank"]]:
    """One layer's factors A and B of a lower rank.

    Raises:
        ValueError: their rank is lower.
    """
    if rank > len(down):
        raise ValueError(f"an adapter of rank {len(down)} cannot be truncated to rank {rank}")
    if rank == len(down):
        return down, up
    nearest = nearest_factors(down.astype(np.float64), up.astype(np.float64), rank=rank, spare=down)
    return nearest[0].astype(np.float32), nearest[1].astype(np.float32)


def nearest_factors(
    down: Float64[np.ndarray, "inner columns"],
    up: Float64[np.ndarray, "rows inner"],
    *,
    rank: int,
    spare: Float32[np.ndarray, "spare columns"],
) -> tuple[Float64[np.ndarray, "rank columns"], Float64[np.ndarray, "rows rank"]]:
    """Factors A and B of the nearest product of a rank, strongest direction first.

    Both get the square root of the singular values, which keeps them at one scale, and the sign that makes the largest
    value of every row of A positive. Directions that the product does not have would get 0 twice, from where nothing
    can be learned: as in a fresh adapter, theirs are 0 in B alone and ``spare`` rows in A.

    Args:
        down: A, or several one above the other.
        up: B, or as many one beside the other.
        rank: of the result.
        spare: at least ``rank`` rows.
    """
    left, right = _triangle(up), _triangle(down.T)
    u, singular, vt = np.linalg.svd(left @ right.T, full_matrices=False)
    rounding = np.finfo(np.float64).eps * max(len(up), down.shape[1])
    floor = rounding * np.linalg.norm(left) * np.linalg.norm(right)
    live = min(rank, int((singular > floor).sum()))
    root = np.sqrt(singular[:live])
    # With P = up down = U S V': P V = U S, and `down` applied to V is right' vt', so that no Q is needed.
    factor_b = up @ (right.T @ vt[:live].T / root)
    factor_a = ((u[:, :live] / root).T @ left) @ down
    largest = np.abs(factor_a).argmax(axis=1)
    sign = np.sign(factor_a[np.arange(live), largest])
    return (
        np.concatenate([sign[:, None] * factor_a, spare[live:rank]]),
        np.pad(factor_b * sign, ((0, 0), (0, rank - live))),
    )


def product_norm(
    down: Float64[np.ndarray, "inner columns"], up: Float64[np.ndarray, "rows inner"]
) -> float:
    """Frobenius norm of the product B A."""
    return float(np.linalg.norm(_triangle(up) @ _triangle(down.T).T))


def _triangle(tall: NDArray[np.float64]) -> Float64[np.ndarray, "side inner"]:
    """Some R with R'R = T'T for the tall matrix T.

    Cholesky's, which takes a fifth of the time, where it has digits enough: its error is that of T'T, so it grows with
    the square of the condition, of which the diagonal gives an idea. Else that of the QR decomposition.
    """
    try:
        triangle = np.linalg.cholesky(tall.T @ tall).T
    except np.linalg.LinAlgError:  # not positive: some direction is missing
        return _exact_triangle(tall)
    diagonal = np.diag(triangle)
    is_sound = len(diagonal) > 0 and diagonal.min() > WELL_CONDITIONED * diagonal.max()
    return triangle if is_sound else _exact_triangle(tall)


def _exact_triangle(tall: NDArray[np.float64]) -> Float64[np.ndarray, "side inner"]:
    return np.linalg.qr(tall, mode="r")  # type: ignore[return-value]  # all three factors, to numpy's stub
