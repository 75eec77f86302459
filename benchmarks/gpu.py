"""Many members on one GPU, against as many trained one after another by hand.

    python -m benchmarks.gpu

Needs only torch and a GPU; without Ray, Optuna and MLflow, the overhead of a study is not
measured. Random images on the device, for both sides; seconds are the wall clock's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.bank import BETA, LR, Case, Images, full_bank
from benchmarks.paired import table_head, table_line
from vae_core.batches import TrainingImages
from vae_core.geometry import ImageShape
from vae_core.likelihoods import gaussian_kl, squared_error
from vae_core.models import build
from vae_core.numerics import settle_kernels
from vae_core.precision import Precision

IMAGES = 16_384


@dataclass(frozen=True)
class GpuCase(Case):
    """Members of one model, and how much faster than the loop they are to train together."""

    members: int
    target: float


CASES = [
    GpuCase(
        "28x28 mlp 784-256-256-16",
        {"name": "mlp", "latent": 16, "width": 256},
        ImageShape(1, 28, 28),
        members=32,
        batch_size=128,
        steps=100,
        target=10,
    ),
    GpuCase(
        "28x28 conv 32-64-16",
        {"name": "conv", "latent": 16, "width": 32},
        ImageShape(1, 28, 28),
        members=32,
        batch_size=128,
        steps=50,
        target=5,
    ),
    GpuCase(
        "32x32 residual (5.2 M)",
        {"name": "residual", "latent": 64},
        ImageShape(3, 32, 32),
        members=8,
        batch_size=100,
        steps=20,
        target=1.3,
    ),
]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@contextmanager
def _fast() -> Iterator[None]:
    """As fast as torch allows: kernels chosen by trial, and TensorFloat-32 for float32."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, True
    flags = {"enabled": True, "benchmark": True, "deterministic": False, "allow_tf32": True}
    try:
        with torch.backends.cudnn.flags(**flags):  # type: ignore[no-untyped-call]
            yield
    finally:
        products.allow_tf32 = before


def loop(
    case: GpuCase, images: Tensor, precision: Precision, *, compiled: bool
) -> Callable[[], None]:
    """A round of one trial by hand: images as floats on the device, fused Adam, autocast."""
    device = images.device
    model = build(case.model, case.shape).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)

    def loss_of(x: Tensor) -> Tensor:
        out = model(x, torch.randn(len(x), model.latent, device=device))
        error, kl = squared_error(x, out.xhat), gaussian_kl(out.mu, out.logvar).sum(dim=1)
        return (error / 2 + BETA * kl).mean()

    measured = loss_of
    if compiled:
        torch._dynamo.reset()  # else a second case's other batch would make it of any size
        measured = torch.compile(loss_of, mode="reduce-overhead", dynamic=False)

    @_fast()
    def train() -> None:
        for _ in range(case.steps):
            rows = torch.randint(len(images), (case.batch_size,), device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = measured(images[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Wall-clock seconds of ``work``, to its end on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(case: GpuCase, precision: Precision, device: torch.device, rounds: int) -> list[str]:
    """A line of the table for each width of the bank."""
    resident = TrainingImages(Images(IMAGES, case.shape.dims), device)
    floats = ((resident.pixels.float() + 0.5) / 256).view(-1, *case.shape.chw)
    by_hand = {False: loop(case, floats, precision, compiled=False)}
    if device.type == "cuda":
        compiled = loop(case, floats, precision, compiled=True)
        try:
            compiled()
        except Exception as error:  # it needs a C compiler, Python's headers and Triton
            said = str(error).strip().partition("\n")[0]
            print(f"{case.name}, {precision}: no compiled loop ({said})", flush=True)
        else:
            by_hand[True] = compiled
    lines = []
    for width in sorted({1, case.members // 4, case.members}):
        bank = full_bank(case, resident, width, precision)
        sides: dict[object, Callable[[], None]] = {
            "bank": lambda bank=bank: bank.train(case.steps),  # type: ignore[misc]
            **by_hand,
        }
        for work in sides.values():  # kernels are chosen, and graphs captured, outside the timing
            work()
        found: dict[object, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, work in sides.items():
                found[name].append(seconds(work, device))
        best = min(by_hand, key=lambda compiled: statistics.median(found[compiled]))
        ratios = sorted(width * b / a for a, b in zip(found["bank"], found[best], strict=True))
        middle = statistics.median(ratios)
        work_done = case.steps * case.batch_size
        verdict = f">= {case.target:g} {'met' if middle >= case.target else 'MISSED'}"
        lines.append(
            table_line(
                case.name,
                precision,
                str(width),
                f"{width * work_done / statistics.median(found['bank']):,.0f}",
                f"{work_done / statistics.median(found[best]):,.0f}{' compiled' if best else ''}",
                f"{middle:.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                verdict if width == case.members else "",
            )
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="timings of each side (default 10)")
    parser.add_argument("--toy", action="store_true", help="a few steps, on a CPU if need be")
    options = parser.parse_args()
    cases, rounds = CASES, options.rounds
    if options.toy:
        small = {"name": "mlp", "latent": 4, "width": 16}
        cases, rounds = [replace(CASES[0], model=small, members=4, steps=2)], 1
    elif not torch.cuda.is_available():
        raise SystemExit("no GPU found: nothing was measured (--toy runs on a CPU)")
    settle_kernels()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if find_spec("ray") is None:
        print("Ray is not installed: only the bank is measured, in this process", file=sys.stderr)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    print(f"{where}, torch {torch.__version__}\n")
    rates = ["bank, images/s", "loop, images/s", "ratio", "range", "target"]
    print(table_head(["model", "precision", "K", *rates]))
    for case in cases:
        for precision in PRECISIONS:
            print("\n".join(compare(case, precision, device, rounds)), flush=True)


if __name__ == "__main__":
    main()
