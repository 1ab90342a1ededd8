"""Arrays kept in memory up to a bound: those least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

GIGABYTE = 1e9


class Cache:
    """Arrays by key, of so many bytes together at most; a larger array is made anew whenever it is asked for."""

    def __init__(self, limit: float) -> None:
        """`limit`: bytes."""
        self.limit, self.held = limit, 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what is kept under a key, or what `make` returns, which is then kept if there can be room for it.

        While it is made there may be one array more in memory than the bound allows.
        """
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = make()
        if array.nbytes <= self.limit:
            while self.held + array.nbytes > self.limit:
                self.held -= self._arrays.popitem(last=False)[1].nbytes
            self._arrays[key] = array
            self.held += array.nbytes
        return array

    def __getstate__(self) -> dict:
        """Leave the arrays behind when a data-loading process receives a copy."""
        return {"limit": self.limit, "held": 0, "_arrays": OrderedDict()}
