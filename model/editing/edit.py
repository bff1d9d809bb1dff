"""Edit radiographs: give what is known of them and what they shall become.

The change is made in what the network sees, and added to the picture itself: what a codec loses on
the way there and back is not in it, and where nothing changes, or a mask forbids it, the picture
keeps every bit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from model.editing.flow_edit import flow_edit
from model.editing.inversion import invert_and_return
from model.editing.noise import noises
from model.editing.region import Mask, check_mask, feathered, latent_region
from model.editing.rf_inversion import rf_inversion
from model.editing.sdedit import sdedit
from model.editing.settings import (
    USUAL_EDIT,
    EditSettings,
    FlowEdit,
    Inversion,
    RFInversion,
    SDEdit,
)
from model.editing.task import Task
from model.generate import BATCH, Generator
from model.guidance import Latents

FEATHER = 1 / 32
"""Width over which a mask fades inside its border, as a share of the picture's side."""


def edit(
    generator: Generator,
    images: Float[Tensor, "picture 1 height width"],
    source: Float[Tensor, "picture attribute"],
    target: Float[Tensor, "picture attribute"],
    *,
    seed: int,
    settings: EditSettings = USUAL_EDIT,
    mask: Mask | None = None,
) -> Float[Tensor, "picture 1 height width"]:
    """Each picture as its row of ``target`` would have it, pixels in [-1, 1], on the processor.

    The same seed, pictures and conditions give the same bits on one machine.

    Args:
        generator: the model that edits.
        images: pixels in [-1, 1], of the model's size; at least one.
        source: what is known of each picture: age in years or NaN, then ids with 0 for null.
        target: what each shall become; an attribute that is equal in both is kept as it is.
        seed: of the noise, at least 0; a picture's noise depends on the seed and its number.
        settings: the method and its numbers.
        mask: 0 where the picture must keep every bit, 1 where it may change; one for all pictures
            or one for each.

    Raises:
        WrongMask: it does not fit the pictures.
    """
    everywhere = images.new_ones(1, *images.shape[1:]) if mask is None else mask
    check_mask(everywhere, images.shape)
    masks = everywhere.expand_as(images)
    edited = []
    for first in range(0, len(images), BATCH):
        numbers = range(first, min(first + BATCH, len(images)))
        part = slice(first, first + BATCH)
        batch = (images[part], source[part], target[part], masks[part])
        edited.append(_edit_batch(generator, batch, settings, seed=seed, numbers=numbers))
    return torch.cat(edited)


@torch.no_grad()
def edit_latents(
    task: Task, settings: EditSettings, *, seed: int, numbers: Sequence[int]
) -> Latents:
    """What the network sees of the edited pictures; see ``edit``.

    Args:
        task: what to edit.
        settings: the method and its numbers.
        seed: of the noise.
        numbers: which pictures of the seed these are.
    """
    noise = noises(task.latents, seed=seed, numbers=numbers)
    match settings:
        case FlowEdit():
            return flow_edit(task, settings, noise)
        case Inversion():
            return invert_and_return(task, settings)
        case RFInversion():
            return rf_inversion(task, settings, next(noise))
        case SDEdit():
            return sdedit(task, settings, next(noise))


@torch.no_grad()
def _edit_batch(
    generator: Generator,
    batch: tuple[Tensor, ...],
    settings: EditSettings,
    *,
    seed: int,
    numbers: Sequence[int],
) -> Float[Tensor, "batch 1 height width"]:
    """Images, source, target and masks of a few pictures -> edited pictures on the processor."""
    device = next(generator.network.parameters()).device
    images, source, target, mask = (each.to(device) for each in batch)
    codec = generator.codec
    latents = codec.encode(images)
    task = Task(
        network=generator.network,
        latents=latents,
        source=source,
        target=target,
        region=latent_region(mask, codec.factor),
        noise_size=generator.network.config.noise_size,
    )
    edited = edit_latents(task, settings, seed=seed, numbers=numbers)
    change = codec.decode(edited) - codec.decode(latents)
    fade = feathered(mask, round(FEATHER * generator.image_size))
    return (images + fade * change).clamp(-1.0, 1.0).cpu()
