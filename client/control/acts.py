"""What a hospital's people do when they pause, resume or stop it, with its place in the log, whichever way they ask.

What closes the hospital is done before it is noted, what opens it again is noted before it is done: where the log cannot
be written, the hospital is closed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from client.control.orders import change_orders, order
from client.control.stop import Stopped
from client.control.stop import stop as end_everything
from client.evidence.log import Event, note


def pause(state_path: Path, by: str) -> None:
    """Let nothing leave until somebody resumes."""
    change_orders(state_path, lambda before: replace(before, paused=order(by)))
    note(state_path, Event.PAUSED, actor=by)


def resume(state_path: Path, by: str) -> None:
    """Take part again after a pause or a stop."""
    note(state_path, Event.RESUMED, actor=by)
    change_orders(state_path, lambda before: replace(before, paused=None, stopped=None))


def stop(state_path: Path, by: str, *, on_acknowledged: Callable[[], None]) -> Stopped:
    """End everything that runs here; returns when it is gone."""
    done = end_everything(state_path, by, on_acknowledged=on_acknowledged)
    note(state_path, Event.STOPPED, actor=by, facts={"was_killed": done.was_killed})
    return done
