"""Steps recorded once as a CUDA graph, and replayed: one launch a step instead of hundreds.

A recording has fixed tensors for all it reads and writes. It is used only if it does what the step
it was made from does, bit for bit; so it is no part of the numerics key.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Times a step is made before it is recorded, each from the same start: in them libraries choose
kernels and take memory for themselves."""


class Recorder:
    """Makes recordings of which one is replayed at a time: they share their working memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Callable[[], None], changes: Sequence[Tensor]) -> Callable[[], None]:
        """``step`` as a recording on the current CUDA device, or as it is where that cannot be.

        Args:
            step: neither reads from the device nor waits for it, and changes tensors in place.
            changes: all it changes; they are as before when this returns.

        Raises:
            torch.OutOfMemoryError: the recording does not fit.
        """
        before = [tensor.detach().clone() for tensor in changes]

        @torch.no_grad()
        def restore() -> None:
            for tensor, value in zip(changes, before, strict=True):
                tensor.copy_(value)

        def outcome(work: Callable[[], None]) -> list[Tensor]:
            restore()
            work()
            return [tensor.detach().clone() for tensor in changes]

        try:
            self._warm_up(lambda: outcome(step))
            replay = self._capture(step)
            if all(map(_identical, outcome(replay), outcome(step))):
                return replay
            problem = "a replayed step is not the same to the last bit"
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            problem = str(error).partition("\n")[0]
        finally:
            restore()
        warnings.warn(f"steps are not recorded as a CUDA graph: {problem}", stacklevel=2)
        return step

    def _warm_up(self, step: Callable[[], object]) -> None:
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(aside)

    def _capture(self, step: Callable[[], None]) -> Callable[[], None]:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # An error of this thread alone: others may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        replay: Callable[[], None] = graph.replay
        return replay


def _identical(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
