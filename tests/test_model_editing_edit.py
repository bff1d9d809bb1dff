"""Edits of whole pictures: what a mask keeps, what a seed repeats, and what a codec may not spoil."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from model.arrays import Arrays
from model.checkpoint import load_arrays_into
from model.codec.pixel import PixelCodec
from model.conditioning import Metadata, Schema
from model.config import model_config
from model.editing.edit import edit
from model.editing.region import Box, WrongBox, WrongMask, box_mask, feathered, latent_region
from model.editing.settings import EditSettings, FlowEdit, Inversion, RFInversion, SDEdit
from model.generate import Generator
from model.guidance import Guidance
from model.manifest import Manifest
from model.transformer import RectifiedFlowTransformer

SIDE = 16
FLOW = FlowEdit(num_steps=4)
METHODS: tuple[EditSettings, ...] = (
    FLOW,
    FlowEdit(num_steps=4, away_from="nothing"),
    Inversion(num_steps=4),
    RFInversion(num_steps=4),
    SDEdit(num_steps=4),
)


class Coarse:
    """A codec that loses every detail: means of 2 x 2 pixels."""

    num_channels, factor = 1, 2
    digest: str | None = "c" * 64

    def encode(self, images: Tensor) -> Tensor:
        """Half the side."""
        return avg_pool2d(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Twice the side."""
        return interpolate(latents, scale_factor=2.0, mode="nearest")


@pytest.fixture(scope="module")
def generator(random_weights: Arrays, toy_manifest: Manifest) -> Generator:
    """A network of random weights that looks at pixels."""
    config = model_config("tiny", SIDE)
    network = RectifiedFlowTransformer(config, Schema())
    load_arrays_into(network, random_weights)
    return Generator(
        network=network.eval(), codec=PixelCodec(), manifest=toy_manifest, adapter_digest=None
    )


def rows(state: str, count: int = 2) -> Tensor:
    """Conditions of old and older women whose hearts are in one state."""
    metadata = [
        Metadata(
            age=60.0 + number,
            sex="F",
            view="PA",
            race=None,
            site=None,
            manufacturer=None,
            findings={"cardiomegaly": state},
        )
        for number in range(count)
    ]
    return torch.stack([torch.from_numpy(Schema().row(each)) for each in metadata])


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 1.9 - 0.95


def edited(
    generator: Generator,
    settings: EditSettings = FLOW,
    *,
    count: int = 2,
    seed: int = 0,
    mask: Tensor | None = None,
    to: str = "present",
) -> Tensor:
    return edit(
        generator,
        pictures(count),
        rows("absent", count),
        rows(to, count),
        seed=seed,
        settings=settings,
        mask=mask,
    )


@pytest.mark.parametrize("settings", METHODS, ids=range(len(METHODS)))
def test_outside_the_mask_every_method_keeps_every_bit_and_inside_it_changes(
    generator: Generator, settings: EditSettings
) -> None:
    mask = box_mask(Box(left=0.25, top=0.5, right=0.75, bottom=1.0), SIDE)
    after = edited(generator, settings, mask=mask)
    inside = mask.bool().expand_as(after)
    assert torch.equal(after[~inside], pictures()[~inside])
    assert (after != pictures())[inside].float().mean() > 0.9


def test_the_same_seed_makes_the_same_bits_and_another_seed_does_not(generator: Generator) -> None:
    assert torch.equal(edited(generator), edited(generator))
    assert not torch.equal(edited(generator), edited(generator, seed=1))


def test_a_picture_gets_its_own_noise_whatever_is_edited_beside_it(generator: Generator) -> None:
    torch.testing.assert_close(edited(generator, count=3)[:2], edited(generator, count=2))
    same = edit(
        generator,
        pictures(1).expand(2, -1, -1, -1),
        rows("absent", 1).expand(2, -1),
        rows("present", 1).expand(2, -1),
        seed=0,
        settings=FLOW,
    )
    assert not torch.equal(same[0], same[1])


def test_a_picture_that_is_already_so_keeps_every_bit(generator: Generator) -> None:
    assert torch.equal(edited(generator, to="absent"), pictures())


def test_more_pictures_than_fit_at_once_are_edited_in_order(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = edited(generator, count=5)
    monkeypatch.setattr("model.editing.edit.BATCH", 2)
    torch.testing.assert_close(edited(generator, count=5), together, atol=1e-3, rtol=0)


def test_what_a_codec_loses_is_not_lost_to_the_picture(generator: Generator) -> None:
    coarse = replace(generator, codec=Coarse())
    half = torch.zeros(1, 1, SIDE, SIDE)
    half[..., : SIDE // 2] = 1
    after = edited(coarse, mask=half)
    outside = (half == 0).expand_as(after)
    assert torch.equal(after[outside], pictures()[outside])
    assert torch.equal(edited(coarse, to="absent"), pictures())
    change = edited(coarse) - pictures()
    assert change.abs().max() > 0.01
    blocks = change.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    unclipped = (edited(coarse).abs() < 1).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).all(-1)
    torch.testing.assert_close(blocks.amax(-1)[unclipped], blocks.amin(-1)[unclipped])


def test_a_stronger_push_changes_more(generator: Generator) -> None:
    def size(scale: float) -> float:
        guidance = Guidance(scale=scale, interval=(0.0, 1.0))
        after = edited(generator, replace(FLOW, guidance=guidance))
        return float((after - pictures()).abs().mean())

    assert size(0.0) < size(1.0) < size(3.0)


def test_a_mask_fades_inside_its_border_and_not_at_the_edge_of_the_picture() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    fade = feathered(mask, 2)[0, 0, 0]
    torch.testing.assert_close(fade, torch.tensor([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1]))


def test_a_thin_mask_does_not_fade_away() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3] = 1
    assert feathered(mask, 4)[..., 3].min() > 0


def test_a_latent_pixel_may_change_if_anything_under_it_may() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 3, 5] = 0.2
    region = latent_region(mask, 4)
    assert torch.equal(region[0, 0], torch.tensor([[0.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (torch.ones(1, 1, SIDE, SIDE + 1), "has 17 x 16 pixels, not 16 x 16"),
        (torch.full((1, 1, SIDE, SIDE), 1.5), "values outside 0 to 1"),
        (torch.zeros(1, 1, SIDE, SIDE), "lets nothing change"),
    ],
)
def test_a_mask_that_cannot_be_laid_over_the_picture_is_refused(
    generator: Generator, mask: Tensor, problem: str
) -> None:
    with pytest.raises(WrongMask, match=problem):
        edited(generator, mask=mask)


def test_a_box_that_bounds_nothing_is_refused() -> None:
    with pytest.raises(WrongBox):
        Box(left=0.5, top=0.0, right=0.5, bottom=1.0)
