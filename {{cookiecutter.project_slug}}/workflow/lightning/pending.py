"""Numbers that a GPU computes, read a while later: a step that waits for it leaves it idle."""

from typing import Any

import torch
from torch import Tensor


class Pending:
    """Numbers on their way from the device to this process."""

    def __init__(self, values: Tensor) -> None:
        """Start to copy `values`, of any shape; returns before they are computed."""
        on_cuda = values.is_cuda
        self._values = values.to("cpu", non_blocking=on_cuda)  # into pinned memory
        self._copied = torch.cuda.Event() if on_cuda else None
        if self._copied:
            self._copied.record()

    def read(self) -> Any:
        """Return the number, or lists of numbers; waits where they are still computed."""
        if self._copied:
            self._copied.synchronize()
        return self._values.tolist()
