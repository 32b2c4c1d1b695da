"""Arrays of the caller, by their address."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_at(address: int, kind: Any, *shape: int) -> NDArray[Any]:
    """The array whose buffer is at this address."""
    pointer = ctypes.cast(address, ctypes.POINTER(np.ctypeslib.as_ctypes_type(kind)))
    return np.ctypeslib.as_array(pointer, shape)
