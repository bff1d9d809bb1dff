"""Encoders from a user's files: what is read, what is refused, and that the numbers are the network's own."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from model.evaluation.encoders.choice import UnknownEncoder, open_encoder
from model.evaluation.encoders.densenet import DenseNet121
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.encoders.unusable import EncoderUnusable
from model.evaluation.encoders.xrv import XrvEncoder


def opened(word: str) -> Encoder:
    encoder = open_encoder(word)
    assert isinstance(encoder, Encoder)
    return encoder


@pytest.fixture(scope="module")
def densenet() -> DenseNet121:
    network = DenseNet121()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, mean in zip(
                module.state_dict().values(), (1.0, 0.1, 0.1, 1.0), strict=False
            ):
                tensor.uniform_(mean - 0.1, mean + 0.1, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def xrv_path(tmp_path_factory: pytest.TempPathFactory, densenet: DenseNet121) -> Path:
    path = tmp_path_factory.mktemp("xrv") / "xrv.safetensors"
    weights = {**densenet.state_dict(), "op_threshs": torch.zeros(18)}
    save_file({name: tensor.clone() for name, tensor in weights.items()}, path)
    return path


def by_names(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """DenseNet-121 written out from the parameter names, Huang et al. 2017, table 1."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.batch_norm(x, mean, variance, scale, shift).relu()

    x = functional.conv2d(images, weights["features.conv0.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm(x, "features.norm0"), 3, 2, 1)
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, layers + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            new = functional.conv2d(norm(x, f"{at}.norm1"), weights[f"{at}.conv1.weight"])
            new = functional.conv2d(
                norm(new, f"{at}.norm2"), weights[f"{at}.conv2.weight"], padding=1
            )
            x = torch.cat([x, new], dim=1)
        if block < 4:
            at = f"features.transition{block}"
            x = functional.conv2d(norm(x, f"{at}.norm"), weights[f"{at}.conv.weight"])
            x = functional.avg_pool2d(x, 2)
    return norm(x, "features.norm5").mean(dim=(2, 3))


@pytest.mark.slow
def test_densenet_features_are_those_that_the_weights_names_spell_out(
    xrv_path: Path, densenet: DenseNet121
) -> None:
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(2)) * 2 - 1
    images[1] *= 0.3
    with torch.inference_mode():
        expected = by_names(densenet.state_dict(), images * 1024).numpy()
    encoder = opened(f"xrv:{xrv_path}")
    found = encoder.features(images)
    assert found.shape == (2, encoder.num_features) == (2, 1024)
    assert np.abs(expected[0] - expected[1]).max() > 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_densenet_has_the_published_number_of_parameters() -> None:
    # torchvision's DenseNet-121 of 1000 classes and three channels has 7,978,856
    with torch.device("meta"):
        num = sum(parameter.numel() for parameter in DenseNet121().parameters())
    assert num == 7_978_856 - 1000 * 1025 + 18 * 1025 - 2 * 64 * 49


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnusable, match="pickles run code: convert it") as refused:
        opened(f"xrv:{tmp_path / 'densenet.pt'}")
    assert "torchxrayvision" in str(refused.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "a.safetensors")
    with pytest.raises(EncoderUnusable, match="does not hold the weights of a DenseNet-121"):
        XrvEncoder(tmp_path / "a.safetensors")


def test_a_file_cut_short_is_refused(tmp_path: Path, xrv_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(xrv_path.read_bytes()[:1000])
    with pytest.raises(EncoderUnusable, match="cut short: convert it again"):
        XrvEncoder(cut)


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A random DINOv2 of two blocks in a folder, and itself."""
    from transformers import Dinov2Config, Dinov2Model

    path = tmp_path_factory.mktemp("tiny-dino")
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    network = Dinov2Model(config)
    network.train(mode=False)
    network.save_pretrained(path)
    return path, network


def published_input(picture: Tensor, size: int, crop: int) -> Tensor:
    """The processor's steps: 8 bits, bicubic, middle, mean and spread."""
    grey = np.uint8(np.round((picture[0].numpy() + 1) * 127.5))
    sized = Image.fromarray(grey).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    edge = (size - crop) // 2
    array = np.asarray(sized.crop((edge, edge, edge + crop, edge + crop)), np.float32) / 255
    return torch.from_numpy((array - [0.53, 0.54, 0.55]) / [0.25, 0.26, 0.27]).permute(2, 0, 1)


@pytest.mark.slow
def test_dino_features_are_the_networks_own_after_the_folders_preprocessing(
    dino: tuple[Path, nn.Module],
) -> None:
    path, network = dino
    preprocessing = {
        "do_center_crop": True,
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "image_mean": [0.53, 0.54, 0.55],
        "image_std": [0.25, 0.26, 0.27],
    }
    (path / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    images = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    inputs = torch.stack([published_input(picture, 64, 56) for picture in images]).float()
    with torch.inference_mode():
        expected = network(pixel_values=inputs).last_hidden_state[:, 0].numpy()
    encoder = opened(f"rad-dino:{path}")
    np.testing.assert_allclose(encoder.features(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.num_features == 24
    assert encoder.name == f"RAD-DINO format, {path.name}"


@pytest.mark.slow
def test_a_dino_folder_without_some_weights_is_refused(
    dino: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((dino[0] / "config.json").read_text())
    save_file({"layernorm.weight": torch.ones(24)}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderUnusable, match="lacks weights: download"):
        opened(f"rad-dino:{tmp_path}")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnusable, match=r"with config\.json and model\.safetensors"):
        opened(f"rad-dino:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderUnusable, match="is not of a DINOv2"):
        opened(f"rad-dino:{tmp_path}")


def test_without_transformers_the_message_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderUnusable, match=r"pip install 'fedcxr\[encoders\]'"):
        opened(f"rad-dino:{tmp_path}")


class Corners(nn.Module):
    """Two features a picture."""

    def forward(self, images: Tensor) -> Tensor:
        """Corners of each picture."""
        return torch.stack([images[:, 0, 0, 0], images[:, 0, -1, -1]], dim=1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_file_encodes_pictures(tmp_path: Path) -> None:
    path = tmp_path / "corners.pt"
    torch.jit.trace(Corners(), torch.zeros(2, 1, 8, 8)).save(str(path))  # type: ignore[no-untyped-call]
    encoder = opened(f"torchscript:{path}")
    images = torch.rand(20, 1, 8, 8)
    np.testing.assert_array_equal(encoder.features(images)[:, 1], images[:, 0, 7, 7].numpy())
    assert (encoder.name, encoder.num_features) == ("TorchScript, corners.pt", 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_file_that_answers_with_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "same.pt"
    torch.jit.trace(nn.Identity(), torch.zeros(2, 1, 8, 8)).save(str(path))  # type: ignore[no-untyped-call]
    with pytest.raises(EncoderUnusable, match=r"does not answer .* with \(batch, feature\)"):
        opened(f"torchscript:{path}")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_file_of_something_else_is_no_torchscript(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("hello")
    for name in ("a.pt", "missing.pt"):
        with pytest.raises(EncoderUnusable, match="is not a TorchScript file"):
            opened(f"torchscript:{tmp_path / name}")


@pytest.mark.parametrize("word", ["rad-dino", "resnet:a", "xrv:", ""])
def test_a_word_that_names_no_encoder_is_answered_with_those_that_do(word: str) -> None:
    with pytest.raises(UnknownEncoder, match=r"type builtin, rad-dino:FOLDER .* torchscript:FILE"):
        opened(word)
