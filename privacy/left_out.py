"""Who is missing from a table of two attributes that leaves without noise.

The tables of a hospital count the same patients, so that a withheld small count could be worked out from the
counts beside it, by subtraction from the sums that other tables tell. Every table of two therefore lacks a tenth of
the patients, another tenth each time. What a table lacks beside another may then be patients that were left out of
it, as well as those of a withheld count. The lot falls by the hash of the patient's key, which only the hospital has
and which is itself a keyed hash: a table is the same whenever it is made, and a patient's lot says nothing of others.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

ONE_IN = 10


def left_out(patients: NDArray[np.uint64], table: str) -> NDArray[np.bool_]:
    """For every key of a patient, whether its patient is missing from the table of this name."""
    salt = hashlib.blake2b(table.encode(), digest_size=16).digest()
    keys, places = np.unique(patients, return_inverse=True)
    lots = [hashlib.blake2b(key.tobytes(), digest_size=8, salt=salt).digest() for key in keys]
    is_out = np.array([int.from_bytes(lot) % ONE_IN == 0 for lot in lots], dtype=np.bool_)
    return is_out[places]
