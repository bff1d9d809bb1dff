"""The end of a process at the n-th of its instants: for programs that are killed at one instant after another."""

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def dies_after(number: int, *, last: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """An instant that is survived so often; the next time this process does the last thing, and is killed."""
    left = iter(range(number))

    def instant() -> None:
        if next(left, None) is None:
            last()
            os.kill(os.getpid(), signal.SIGKILL)

    return instant


def mortal(
    function: Callable[Given, Result], instant: Callable[[], None]
) -> Callable[Given, Result]:
    """The same function, and an instant before it."""

    @wraps(function)
    def call(*arguments: Given.args, **keywords: Given.kwargs) -> Result:
        instant()
        return function(*arguments, **keywords)

    return call
