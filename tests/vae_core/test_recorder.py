"""Who owns what of a recording: streams, pools and graphs, on a stand-in for CUDA.

The stand-in keeps torch's rules that can be read in its source: a capture that fails stays on its
stream, with its pool open; a pool that is open takes no other capture; and a graph that goes takes
its stream's cuBLAS workspace with it, whoever else uses it.
"""

from __future__ import annotations

import gc
import itertools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_bank import BATCH, DIGITS, MLP, digits
from torch import Tensor

from vae_core import bank as bank_module
from vae_core import cuda_graphs
from vae_core.bank import Bank, Member
from vae_core.cuda_graphs import Recorder


class Stream:
    def __init__(self) -> None:
        self.workspace = 0
        """Counts the graphs that took their workspace with them."""

    def wait_stream(self, other: Stream) -> None:
        """Nothing here runs beside anything else."""


class Graph:
    """Runs its step again; notices if its workspace has gone."""

    stream: Stream
    step: Callable[[], None]

    def captured(self, stream: Stream, step: Callable[[], None]) -> None:
        self.stream, self.step, self.workspace = stream, step, stream.workspace

    def replay(self) -> None:
        assert self.stream.workspace == self.workspace, "its workspace was freed"
        self.step()

    def __del__(self) -> None:
        if hasattr(self, "stream"):
            self.stream.workspace += 1


class Cuda(types.ModuleType):
    """What the recorder calls of ``torch.cuda``."""

    def __init__(self) -> None:
        super().__init__("cuda")
        self.made = 0
        self.main = self.current = Stream()
        self.pools = itertools.count(1)
        self.open: set[int] = set()
        self.capturing = False
        self.step: Callable[[], None] = lambda: None
        self.CUDAGraph = Graph

    def Stream(self) -> Stream:
        self.made += 1
        return Stream()

    def current_device(self) -> int:
        return 0

    def current_stream(self) -> Stream:
        return self.current

    def graph_pool_handle(self) -> int:
        return next(self.pools)

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(
        self, graph: Graph, *, pool: int, stream: Stream, capture_error_mode: str
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.current = stream  # left only by a capture that succeeds
        if pool in self.open:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        self.capturing = True
        self.open.add(pool)
        try:
            yield
        except BaseException:  # torch ends the capture all the same, and CUDA refuses
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        finally:
            self.capturing = False
        self.open.remove(pool)
        graph.captured(stream, self.step)
        self.current = self.main


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    found = Cuda()
    monkeypatch.setattr(cuda_graphs.torch, "cuda", found)
    monkeypatch.setattr(
        cuda_graphs.torch._C,
        "_cuda_endAllocateToPool",
        lambda device, pool: found.open.discard(pool),
        raising=False,
    )
    monkeypatch.setattr(cuda_graphs, "_idle", {})
    return found


def recorded(cuda: Cuda, recorder: Recorder, value: Tensor) -> Callable[[], None]:
    """A step that adds one to a value, recorded."""

    def step() -> None:
        value.add_(1)

    cuda.step = step
    return recorder(step, [value])


def test_a_step_is_put_back_and_replayed(cuda: Cuda) -> None:
    value = torch.zeros(3)
    replay = recorded(cuda, Recorder(), value)
    assert value.tolist() == [0, 0, 0]
    replay()
    assert value.tolist() == [1, 1, 1]
    assert cuda.current is cuda.main


def test_a_recorder_that_goes_takes_nothing_from_the_others(cuda: Cuda) -> None:
    """As where widths are timed: a bank goes while the next is there, and a third is made."""
    values = [torch.zeros(1) for _ in range(3)]
    first, second = Recorder(), Recorder()
    gone = recorded(cuda, first, values[0])
    stays = recorded(cuda, second, values[1])
    del first, gone
    gc.collect()
    third = Recorder()
    newest = recorded(cuda, third, values[2])
    for replay in (stays, newest):
        replay()
    assert [value.item() for value in values] == [0, 1, 1]
    assert cuda.made == 2, "a stream whose recorder is gone is used again"


def test_the_recordings_of_one_recorder_do_not_free_each_others(cuda: Cuda) -> None:
    value, recorder = torch.zeros(1), Recorder()
    kept = recorded(cuda, recorder, value)
    recorded(cuda, recorder, value)
    gc.collect()
    kept()
    assert cuda.made == 1


def test_a_capture_that_fails_leaves_nothing_behind(cuda: Cuda) -> None:
    value, recorder = torch.zeros(1), Recorder()

    def step() -> None:
        if cuda.capturing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        value.add_(1)

    assert recorder(step, [value]) is step
    assert recorder.problem == "operation not permitted when stream is capturing"
    assert cuda.current is cuda.main
    assert not cuda.open
    assert value.item() == 0
    replay = recorded(cuda, recorder, value)  # another step of the same recorder
    replay()
    assert value.item() == 1


def test_a_step_that_differs_when_replayed_is_not_used(cuda: Cuda) -> None:
    value, recorder = torch.zeros(1), Recorder()

    def step() -> None:
        value.add_(1)

    cuda.step = lambda: value.add_(1.0000001) and None
    assert recorder(step, [value]) is step
    assert recorder.problem == "a replayed step differs in its bits"


def test_a_step_that_differs_from_itself_is_blamed_on_the_model(cuda: Cuda) -> None:
    """Some of torch's operations add in another order each time; no recording changes that."""
    value, recorder, drawn = torch.zeros(1), Recorder(), itertools.count()

    def step() -> None:
        value.add_(next(drawn))

    cuda.step = step
    assert recorder(step, [value]) is step
    assert recorder.problem == "its operations are not deterministic here: equal steps differ"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for cudaErrorMemoryAllocation"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["allocator", "graph", "cublas", "cudnn"],
)
def test_want_of_memory_is_raised(cuda: Cuda, error: RuntimeError) -> None:
    """The engine makes narrower banks for it; a step that ran on would hide that."""

    def step() -> None:
        if cuda.capturing:
            raise error

    with pytest.raises(type(error), match=r"(?i)memory|alloc_failed"):
        Recorder()(step, [torch.zeros(1)])
    assert cuda.current is cuda.main
    assert not cuda.open


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Banks replay their steps, without a device that records them."""

    def record(self: Recorder, step: Any, changes: Any) -> Any:
        self.problem = "no graph here"
        return step

    monkeypatch.setattr(bank_module, "replayed_on", lambda device: True)
    monkeypatch.setattr(Recorder, "__call__", record)


def test_a_banks_word_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not recorded reaches whoever asks the bank; the time it took is not training."""

    stand_in(monkeypatch)
    found = Bank(MLP, digits(), DIGITS, width=2, batch_size=BATCH)
    assert (found.unrecorded, found.recording_seconds) == ("", 0.0)
    found.admit(Member(1, 1e-3, "optimal_sigma", {}, 100))
    found.train(2)
    assert found.unrecorded == "no graph here"
    assert found.recording_seconds > 0


@pytest.mark.parametrize("calls", [(7,), (3, 3, 1)])
def test_replayed_steps_report_the_balance_of_the_last(
    monkeypatch: pytest.MonkeyPatch, calls: tuple[int, ...]
) -> None:
    """As steps that are made one by one, beside other families, in one call or several."""
    geco = Member(1, 1e-3, "geco", {"kappa": 0.1}, 100)
    cyclical = Member(2, 1e-3, "cyclical_beta", {"beta": 0.02, "cycle_epochs": 7 / 23}, 100)
    learned = Member(3, 1e-3, "learned_sigma", {}, 100)
    balances = []
    for replayed in (False, True):
        if replayed:
            stand_in(monkeypatch)
        found = Bank(MLP, digits(), DIGITS, width=3, batch_size=BATCH)
        rows = [found.admit(member) for member in (geco, cyclical, learned)]
        for steps in calls if replayed else (7,):
            found.train(steps)
        segments = [found.segment(row) for row in rows]
        balances.append([(segment.sigma2, segment.k) for segment in segments])
    assert balances[1] == balances[0]
    assert segments[1].k == pytest.approx(0.02)  # at the end of its cycle, not after it
