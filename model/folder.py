"""A model's folder: ``model.safetensors`` with its manifest, written and verified piece by piece.

A folder is written once. The weights come first and the manifest last, each renamed into place, so
a folder with a manifest is a whole model, and one without is nothing.
"""

from pathlib import Path

from model.arrays import Arrays, WrongModelFile, digest_arrays
from model.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from model.tensor_file import TensorFile, copy_tensors

WEIGHTS_NAME = "model.safetensors"


def holds_model(folder: Path) -> bool:
    """Whether a whole model was written into a folder."""
    return (folder / MANIFEST_NAME).exists()


def save_model(folder: Path, arrays: Arrays, manifest: Manifest) -> None:
    """Write a model folder, weights first.

    Args:
        folder: made if it does not exist; must not hold a model yet.
        arrays: the whole network or an adapter, as ``manifest.kind`` says.
        manifest: its ``weights_digest`` is that of ``arrays``.

    Raises:
        ValueError: the digest is of other weights; the folder holds no model.
        WrongModelFile: the folder holds a model already.
    """
    if manifest.weights_digest != save_weights(folder, arrays, study_name=manifest.study_name):
        raise ValueError("the manifest's weights_digest is not the digest of the weights to save")
    write_manifest(folder, manifest)


def save_weights(folder: Path, arrays: Arrays, *, study_name: str) -> str:
    """Write the weights of a folder, which is a model once its manifest is written; gives their digest.

    Raises:
        WrongModelFile: the folder holds a model already.
    """
    if holds_model(folder):
        raise WrongModelFile(folder, "holds a model already", "give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return copy_tensors(folder / WEIGHTS_NAME, arrays, {"study": study_name})


def open_weights(folder: Path) -> tuple[TensorFile, Manifest]:
    """Open a model folder of either kind, once its weights are known to be the manifest's.

    Raises:
        WrongModelFile: something is missing, damaged, or not what the manifest describes.
    """
    if not folder.is_dir():
        raise WrongModelFile(folder, "does not exist", "give the folder of a saved model")
    manifest = read_manifest(folder)
    weights = TensorFile(folder / WEIGHTS_NAME)
    if digest_arrays(weights) != manifest.weights_digest:
        raise WrongModelFile(folder / WEIGHTS_NAME, "is not the file that its manifest describes")
    return weights, manifest
