"""A coordinator's record with everything in it that its console has to show, and the console on it."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

from starlette.types import ASGIApp

from federation.config import ModelChoice, RoundRules, StudyConfig
from federation.console.doorkeeper import Doorkeeper
from federation.console.guard import LOOPBACK
from federation.files import write_file
from federation.node_keys import make_node_key, publish_public_key
from federation.privacy_terms import PrivacyTerms
from federation.stages import FullStage, LocalTraining, LoraStage
from server.console.connections import Connected, Connection, Connections
from server.console.run import coordinator_console
from server.console.views import samples_path
from server.enrolment.members import seen_path
from server.records import Part, Reached
from server.store import StudyStore
from server.watch import want
from tests.browser.served import Served, served

SHEET = Path(__file__).parent.parent.parent / "docs" / "images" / "samples.png"
NAMES = ("city", "north", "st-mary")
REFUSED = "its norm is 9.1 times the median of the others, the study allows 4"
RULES = RoundRules(num_sites=4, min_sites=2)
LOCAL = LocalTraining(local_steps=20, batch_size=8, learning_rate=1e-4)
PRIVATE = replace(
    LOCAL, privacy=PrivacyTerms(noise_multiplier=2.0, sample_rate=0.01, max_grad_norm=1.0)
)


def connected_now() -> Connected:
    """All but one; whatever they are, they have been for an hour and a half."""
    since = time.time() - 5400
    return {name: Connection(is_open=name != "st-mary", since=since) for name in (*NAMES, "west")}


def make_record(state: Path) -> StudyStore:
    """A study in its sixth round, held as if it ran; gives its store."""
    study = StudyConfig(
        name="chest-2026",
        seed=1,
        model=ModelChoice(size="tiny", image_size=16),
        rounds=RULES,
        stages=(FullStage(kind="full", num_rounds=12, local=LOCAL),),
    )
    store = StudyStore.create(state, study)
    want(store)
    for number in range(1, 6):
        _commit(store, number)
    store.record(_part("city", 6, state="asked"))
    store.record(_part("north", 6))
    waits = "plan 1f0c waits for approval"
    store.record(_part("st-mary", 6, state="waiting", code="unapproved", reason=waits))
    return store


def make_roster(state: Path) -> None:
    """Three hospitals whose keys were handed over, of which one called a minute ago; one of them never took part."""
    for name in ("city", "north", "st-mary", "west"):
        key = make_node_key(state / "made" / name, name)
        publish_public_key(key, state / "roster" / f"{name}.pub")
    write_file(
        seen_path(state),
        json.dumps(dict.fromkeys(("city", "north", "west"), int(time.time()) - 12)).encode(),
    )


def make_private(state: Path) -> StudyStore:
    """A private study that stopped, and has a sheet of samples."""
    study = StudyConfig(
        name="chest-private",
        seed=1,
        model=ModelChoice(size="tiny", image_size=16, start="a" * 64),
        rounds=RULES,
        stages=(LoraStage(kind="lora", num_rounds=20, local=PRIVATE, rank=2, alpha=2.0),),
    )
    store = StudyStore.create(state, study)
    want(store)
    parts = [replace(_part(name, 1), loss=None, held_out_loss=None) for name in NAMES[:2]]
    _keep(store, 1, parts)
    store.set_fact("stopped", "round 2 has 1 of 2 hospitals: ask north and st-mary to connect")
    copyfile(SHEET, samples_path(store))
    return store


@contextmanager
def served_console(
    state: Path, connected: Callable[[], Connected] = connected_now
) -> Iterator[Served]:
    """The console on a free port."""
    nodes = Connections(state_path=state, ask=lambda _: connected())

    def build(door: Doorkeeper, port: int) -> ASGIApp:
        return coordinator_console(nodes, door, hosts=LOOPBACK, port=port, is_secure=False)

    with served(build) as console:
        yield console


def _commit(store: StudyStore, number: int) -> None:
    parts = [_part(name, number) for name in NAMES]
    if number == 3:
        refused = replace(parts[2], state="refused", code="norm", reason=REFUSED, loss=None)
        store.record(refused)
        parts = parts[:2]
    _keep(store, number, parts)


def _keep(store: StudyStore, number: int, parts: list[Part]) -> None:
    for part in parts:
        store.record(part)
    store.open_round(number)
    reached = Reached(number=number, digests={"weights": f"{number:064x}"}, base_digest="")
    store.commit(reached, parts, seconds=1460.0)


def _part(name: str, number: int, **values: str) -> Part:
    loss = 0.4 + 0.6 * math.exp(-number / 3) + 0.02 * NAMES.index(name)
    part = Part(
        number=number,
        site=name,
        attempt=1,
        state="admitted",
        loss=loss,
        held_out_loss=loss + 0.03,
        seconds=1200.0,
        norm=1.2,
        bytes_down=2_400_000,
        bytes_up=1_200_000,
    )
    return replace(part, **values)  # type: ignore[arg-type]
