"""The one complaint about an encoder that a user gave."""

from pathlib import Path


class EncoderUnusable(ValueError):
    """A file or folder from which no encoder can be made."""

    def __init__(self, path: Path, problem: str, advice: str) -> None:
        super().__init__(f"the encoder {path} {problem}: {advice}.")
