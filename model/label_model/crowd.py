"""Records drawn to stand for the joint values of attributes, which nobody counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NUM_DRAWS = 20_000
"""Records per hospital."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """Records of all hospitals; a hospital's weigh as much together as its patients."""

    site: str
    """The attribute that says which hospital a record is of."""
    labels: dict[str, Int[np.ndarray, " record"]]
    """Attribute -> number of its value; attributes are added as their laws are found."""
    weights: Float[np.ndarray, " record"]
    """Sum to 1."""

    @property
    def sites(self) -> Int[np.ndarray, " record"]:
        """The hospital of each record."""
        return self.labels[self.site]

    @property
    def site_weights(self) -> Float[np.ndarray, " site"]:
        """Share of the patients that came to each hospital."""
        return np.bincount(self.sites, self.weights)

    def by_site(self, name: str, num_values: int) -> Float[np.ndarray, "site value"]:
        """Weight of each value of an attribute in each hospital; all sum to 1."""
        num_sites = int(self.sites.max()) + 1
        places = self.sites * num_values + self.labels[name]
        sums = np.bincount(places, self.weights, minlength=num_sites * num_values)
        return sums.reshape(num_sites, num_values)

    def distinct(self, names: Sequence[str]) -> "Crowd":
        """The same crowd as far as some attributes and the hospital tell, every combination once."""
        kept = (self.site, *(name for name in names if name != self.site))
        columns = np.stack([self.labels[name] for name in kept], axis=1)
        found, places = np.unique(columns, axis=0, return_inverse=True)
        return Crowd(
            site=self.site,
            labels={name: found[:, place] for place, name in enumerate(kept)},
            weights=np.bincount(places.ravel(), self.weights, minlength=len(found)),
        )


def arrivals(site: str, num_patients: Sequence[float]) -> Crowd:
    """Records of which nothing is known but the hospital.

    Args:
        site: The attribute that says which hospital it is.
        num_patients: Of each hospital, more than 0.
    """
    sizes = np.asarray(num_patients, dtype=np.float64)
    sites = np.repeat(np.arange(len(sizes)), NUM_DRAWS)
    return Crowd(site=site, labels={site: sites}, weights=(sizes / sizes.sum())[sites] / NUM_DRAWS)
