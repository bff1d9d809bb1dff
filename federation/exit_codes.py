"""What a command's exit code says, in one place, for scripts and for the people who write them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    NOT_READY = 1
    MISTAKE = 2
    WAITS_FOR_A_PERSON = 3
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done, or all is well",
    ExitCode.NOT_READY: "not ready, not sound or not well: what was asked about is told; or a defect, with a traceback",
    ExitCode.MISTAKE: "something to mend in what was typed or in the files; nothing was done",
    ExitCode.WAITS_FOR_A_PERSON: "a study has stopped and waits for a person; its reason is told",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}


def exit_code_lines() -> list[str]:
    """A line a code."""
    return [f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
