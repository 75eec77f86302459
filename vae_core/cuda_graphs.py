"""Steps recorded once as a CUDA graph and replayed: one launch instead of hundreds of kernels.

A recording reads and writes fixed tensors. It is used only if it equals the step it was made from
bit for bit; so it is not part of the numerics key.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from vae_core.memory import is_out_of_memory

WARM_UP = 3
"""Runs of a step before it is recorded, each from the same state: in them libraries choose kernels
and allocate memory."""

_idle: dict[int, list[Any]] = {}
"""By device, streams whose recorders are gone. torch has 32 to hand out, and cuBLAS keeps a
workspace for every one that it has met."""


class Recorder:
    """Makes recordings, replayed one at a time, which share their working memory.

    All are made on one stream, no other recorder's, and kept as long as the recorder: with a graph
    torch frees the cuBLAS workspace of the stream it was captured on, and other graphs that were
    captured there would go on writing to it.

    Attributes:
        problem: why a step is not recorded, the last time that one was not; else empty.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._stream: Any = None
        self._pool: Any = None
        self._graphs: list[Any] = []

    def __call__(self, step: Callable[[], None], changes: Sequence[Tensor]) -> Callable[[], None]:
        """``step`` as a recording on the current CUDA device, or unchanged where that fails.

        Args:
            step: does not read from the device or wait for it, and changes tensors in place.
            changes: all tensors it changes; they are restored when this returns.

        Raises:
            RuntimeError: the recording does not fit into memory.
        """
        before = [tensor.detach().clone() for tensor in changes]

        def from_start(work: Callable[[], None]) -> None:
            with torch.no_grad():
                for tensor, value in zip(changes, before, strict=True):
                    tensor.copy_(value)
            work()

        try:
            self._warm_up(lambda: from_start(step))
            replay = self._capture(step)

            def after(work: Callable[[], None]) -> list[Tensor]:
                from_start(work)
                return [tensor.detach().clone() for tensor in changes]

            replayed, direct = after(replay), after(step)
            if all(map(_identical, replayed, direct)):
                return replay
            self.problem = "a replayed step differs in its bits"
            if not all(map(_identical, direct, after(step))):
                self.problem = "its operations are not deterministic here: equal steps differ"
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.problem = str(error).partition("\n")[0]
        finally:
            from_start(lambda: None)
        return step

    def _warm_up(self, step: Callable[[], None]) -> None:
        if self._stream is None:
            idle = _idle.setdefault(torch.cuda.current_device(), [])
            self._stream = idle.pop() if idle else torch.cuda.Stream()  # type: ignore[no-untyped-call]
            weakref.finalize(self, idle.append, self._stream)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, step: Callable[[], None]) -> Callable[[], None]:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        self._graphs.append(graph)
        raised: list[RuntimeError] = []
        try:
            # Back on this stream whatever happens: a capture that fails does not leave its own.
            with torch.cuda.stream(torch.cuda.current_stream()):
                # Errors of this thread alone: other threads may use the device meanwhile.
                mode: Any = {"capture_error_mode": "thread_local", "stream": self._stream}
                with torch.cuda.graph(graph, pool=self._pool, **mode):
                    try:
                        step()
                    except RuntimeError as error:
                        raised.append(error)
                        raise
        except BaseException:
            self._give_up_pool()
            if raised:  # torch ends the capture all the same, and CUDA says only that it failed
                raise raised[0] from None
            raise
        replay: Callable[[], None] = graph.replay
        return replay

    def _give_up_pool(self) -> None:
        # A capture that fails leaves its pool open; the allocator then frees no memory any more,
        # and refuses another capture into it. torch has no public call for what its own would do.
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
        self._pool = None


def _identical(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
