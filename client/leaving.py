"""What may leave with an update, and nothing else: the last look at it before it is sent.

Without privacy: the trained tensors, and what the hospital's profile shares. With privacy a number leaves if it is a
constant of the study, or noised and charged; a loss, a count or a duration that follows from the patients does not.
"""

import math

import numpy as np

from client.config import SiteConfig
from client.control.gate import gate_of
from client.evidence.recording import change_leaves
from client.kept import Finished
from client.plans.gate import require_approved
from client.private_round import allow, policy_of, private_round
from federation.config import parse_study
from federation.messages import Update
from federation.stages import FullStage, LoraStage
from model.arrays import digest_arrays
from model.tensors import Piece, Tensors


class WouldLeak(RuntimeError):
    """An update that holds more than may leave; a fault of this program."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not on the list of what may leave: nothing is sent")


def let_leave(site: SiteConfig, finished: Finished, plan: str = "") -> None:
    """Let a finished update pass, now and with the policy as it is now, or stop it; what passes has its receipt.

    Args:
        site: Whose it is.
        finished: As it lies on the disk.
        plan: Digest of the plan that it leaves under, which has to be approved still; empty for none, or where it has
            its receipt already.

    Raises:
        NotTaken: the hospital takes no part now, its policy does not allow it, or another change of this round was
            released before.
        WouldLeak: something in it is not on the list.
    """
    update, asked = finished.update, finished.asked
    gate_of(site).require_open(update.study_digest)
    if plan:  # approved when the round began, perhaps hours ago
        require_approved(site, update.study_digest)
    _, stage = parse_study(asked.study).stage_of(update.round_number)
    policy = policy_of(site)
    allow(policy, stage, base_digest=asked.base_digest)
    check_leaves(update, finished.change, stage, frozenset(asked.trained))
    number = update.round_number
    private = private_round(policy, stage, digest=update.study_digest, number=number)
    if private is not None:
        private.settle(digest_arrays(finished.change))
    change_leaves(site, finished, plan=plan)


def check_leaves(
    update: Update, change: Tensors, stage: FullStage | LoraStage, trained: frozenset[str]
) -> None:
    """Let an update pass, or stop it.

    Args:
        update: What would be sent.
        change: The tensors that its shards say.
        stage: What the study asks for in its round.
        trained: Names of the tensors that train in its round.

    Raises:
        WouldLeak: something in it is not on the list.
    """
    for name in sorted({*change.shapes, *update.change.shapes}):
        if name not in trained or change.shapes.get(name) != update.change.shapes.get(name):
            raise WouldLeak(f"tensor {name}")
        if change.piece(Piece(name=name, start=0, stop=0)).dtype != np.float32:
            raise WouldLeak(f"tensor {name}")
    if stage.local.privacy is not None:
        _check_scalars(update, tells_loss=stage.local.privacy.loss_noise_multiplier is not None)


def _check_scalars(update: Update, *, tells_loss: bool) -> None:
    """What has to be missing from a private update, and what must not."""
    stays = {
        "held_out_loss": math.isnan(update.held_out_loss),
        "loss": tells_loss or math.isnan(update.loss),
        "seconds": update.seconds == 0,
        "num_records": update.num_records == 0,
        "num_files": update.num_files == 0,
        "a change without its ledger's head": update.ledger is not None,
    }
    for name, is_kept in stays.items():
        if not is_kept:
            raise WouldLeak(name)
