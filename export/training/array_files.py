"""Arrays that are computed once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write an .npz, whole or not at all: a run may be stopped at any moment.

    The folder that it lies in is made where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    draft.replace(path)
