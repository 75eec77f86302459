"""Steps recorded once as a CUDA graph and replayed: one launch instead of hundreds of kernels.

A recording reads and writes fixed tensors. It is used only if it equals the step it was made from
bit for bit; so it is not part of the numerics key.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Runs of a step before it is recorded, each from the same state: in them libraries choose kernels
and allocate memory."""


class Recorder:
    """Makes recordings, replayed one at a time, which share their working memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Callable[[], None], changes: Sequence[Tensor]) -> Callable[[], None]:
        """``step`` as a recording on the current CUDA device, or unchanged where that fails.

        Args:
            step: does not read from the device or wait for it, and changes tensors in place.
            changes: all tensors it changes; they are restored when this returns.

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
            problem = "a replayed step differs in its bits"
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
        # Errors of this thread alone: other threads may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        replay: Callable[[], None] = graph.replay
        return replay


def _identical(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
