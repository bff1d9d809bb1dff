"""The instruction of a first round, and what a hospital answers to any, as a test expects it: a change or a refusal."""

from client.config import SiteConfig
from client.rounds import answer
from federation.config import StudyConfig, study_json
from federation.messages import Instruction, Refusal, Update
from federation.shipment import inline_shipment, open_content
from model.arrays import Arrays


def first_round(study: StudyConfig, weights: Arrays) -> Instruction:
    return Instruction(study=study_json(study), round_number=1, weights=inline_shipment(weights))


def trained(site: SiteConfig, instruction: Instruction) -> Update:
    found = answer(site, instruction)
    assert isinstance(found, Update), found
    return found


def refused(site: SiteConfig, instruction: Instruction) -> Refusal:
    found = answer(site, instruction)
    assert isinstance(found, Refusal)
    return found


def change_of(update: Update) -> Arrays:
    """The change as the coordinator reads it."""
    return open_content(update.change, update.content or b"")
