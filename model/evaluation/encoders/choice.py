"""Which encoder a person means by a word on the command line."""

from pathlib import Path

from model.evaluation.encoders.encoder import Encoder
from model.evaluation.encoders.rad_dino import RadDinoEncoder
from model.evaluation.encoders.torchscript import TorchScriptEncoder
from model.evaluation.encoders.xrv import XrvEncoder

BUILTIN = "builtin"


class UnknownEncoder(ValueError):
    """A word that names no encoder."""

    def __init__(self, word: str) -> None:
        super().__init__(
            f"{word!r} is not an encoder: type builtin, rad-dino:FOLDER (Hugging Face format), "
            "xrv:FILE.safetensors or torchscript:FILE."
        )


def open_encoder(word: str) -> Encoder:
    """The encoder whose weights ``word`` names; ``builtin`` needs a probe, and is none of these.

    Args:
        word: a kind and a path with a colon between.

    Raises:
        UnknownEncoder: no such kind.
        EncoderUnusable: nothing usable at the path.
    """
    kind, _, place = word.partition(":")
    path = Path(place).expanduser()
    match kind, bool(place):
        case "rad-dino", True:
            return RadDinoEncoder(path)
        case "xrv", True:
            return XrvEncoder(path)
        case "torchscript", True:
            return TorchScriptEncoder(path)
        case _:
            raise UnknownEncoder(word)
