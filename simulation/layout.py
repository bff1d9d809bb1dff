"""Where a simulation keeps what it makes: every part of it can be found again and continued."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one simulation."""

    out: Path

    @property
    def coordinator(self) -> Path:
        """State of the coordinator."""
        return self.out / "coordinator"

    @property
    def held_out(self) -> Path:
        """Radiographs that no hospital has."""
        return self.out / "held-out"

    @property
    def logs(self) -> Path:
        """What the started programs print."""
        return self.out / "logs"

    @property
    def codec_path(self) -> Path | None:
        """The study's autoencoder, which all hospitals share; None for a study of pixels."""
        link = self.out / "autoencoder"
        return link if link.exists() else None

    def alone(self, name: str) -> Path:
        """Weights trained without a federation, for comparison."""
        return self.out / "alone" / f"{name}.safetensors"

    def hospital(self, name: str) -> Path:
        """Everything of one hospital."""
        return self.out / "hospitals" / name

    def policy(self, name: str) -> Path:
        """A hospital's privacy policy."""
        return self.hospital(name) / "privacy.yaml"

    def profile(self, name: str) -> Path:
        """A hospital's profile."""
        return self.hospital(name) / "site.yaml"

    def cache(self, name: str) -> Path:
        """A hospital's cache."""
        return self.hospital(name) / "state" / "cache"
