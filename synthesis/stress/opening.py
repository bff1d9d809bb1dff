"""Opens the program of a classifier: TorchScript, ONNX, or the user's own Python function."""

import importlib.util
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from synthesis.stress.classifier import Scores

PYTHON = "python:"

Given = TypeVar("Given")
Made = TypeVar("Made")


class UnknownClassifier(ValueError):
    """What was given names no classifier."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"{given} is no classifier: give a TorchScript file (.pt), an ONNX file (.onnx) or "
            "python:PATH.py:FUNCTION"
        )


class ClassifierUnusable(RuntimeError):
    """The classifier is there and does not run."""

    def __init__(self, given: str, err: Exception) -> None:
        place = traceback.extract_tb(err.__traceback__)[-1]
        reason = (str(err).strip().splitlines() or [""])[0]
        super().__init__(
            f"the classifier {given} does not run ({type(err).__name__} in {Path(place.filename).name}, line "
            f"{place.lineno}: {reason}): mend it, or say with --input-size, --range and --channels what it wants"
        )


class OnnxMissing(RuntimeError):
    """The optional package is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "an ONNX classifier needs a further package: type: pip install 'fedcxr[onnx]'"
        )


def open_classifier(given: str) -> Scores:
    """The program that a person named.

    A Python function is run as it is, with everything that it may do; TorchScript and ONNX files can only compute.

    Raises:
        UnknownClassifier: it names none of the three kinds, or nothing is there.
        ClassifierUnusable: it cannot be loaded; also raised by the program it gives, for what it cannot score.
        OnnxMissing: no onnxruntime.
    """
    if given.startswith(PYTHON):
        place, _, function = given.removeprefix(PYTHON).rpartition(":")
        opener, path = _python(function), Path(place)
    else:
        path = Path(given)
        openers: dict[str, Callable[[Path], Scores]] = {
            ".pt": _torchscript,
            ".pth": _torchscript,
            ".onnx": _onnx,
        }
        if path.suffix not in openers:
            raise UnknownClassifier(given)
        opener = openers[path.suffix]
    if not path.is_file():
        raise UnknownClassifier(given)
    run = _guarded(given, opener)(path)
    return _guarded(given, run)


def _guarded(given: str, work: Callable[[Given], Made]) -> Callable[[Given], Made]:
    """Whatever a foreign program raises becomes one sentence."""

    def guarded(argument: Given) -> Made:
        try:
            return work(argument)
        except (UnknownClassifier, OnnxMissing):
            raise
        except Exception as err:
            raise ClassifierUnusable(given, err) from err

    return guarded


def _torchscript(path: Path) -> Scores:
    with warnings.catch_warnings():
        # Torch wants new files in another format; hospitals have files in this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def scores(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = module(torch.from_numpy(pictures)).float().numpy()
        return array

    return scores


def _onnx(path: Path) -> Scores:
    try:
        import onnxruntime  # noqa: PLC0415  an optional extra
    except ImportError:
        raise OnnxMissing from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def scores(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = session.run(None, {name: pictures})[0]
        return array

    return scores


def _python(function: str) -> Callable[[Path], Scores]:
    def load(path: Path) -> Scores:
        spec = importlib.util.spec_from_file_location("classifier_under_test", path)
        if spec is None or spec.loader is None:
            raise UnknownClassifier(str(path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        scores: Scores = getattr(module, function)
        return scores

    return load
