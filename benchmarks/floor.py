"""What the libraries of a study take by themselves, without the product.

    python -m benchmarks.floor study FOLDER --runs 40

Each command starts what any program over these libraries must, as many processes and as much at
once as the product does, and does nothing else: no training, no checks, no evaluation, no journal,
no report. What it takes is what is left where everything of the product's own takes no time;
``benchmarks.against`` has it as a column.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

FIRST_STEP = "first step"
"""What is printed once every engine has made one."""
ENGINES = 2
PICTURES = 8
REPORTS, METRICS = 10, 20
"""Of a run in MLflow: reports, and the metrics of each."""
_LINE: dict[str, Any] = {
    "data": {"values": [{"x": x, "y": x * x % 7} for x in range(40)]},
    "mark": "line",
    "encoding": {"x": {"field": "x", "type": "quantitative"},
                 "y": {"field": "y", "type": "quantitative"}},
}  # fmt: skip


def engines(address: str | None) -> None:
    """Ray, its Tune and Optuna; and processes of Ray's in which torch has made one step."""
    import optuna  # noqa: F401
    import ray
    from ray import tune  # noqa: F401

    ray.init(
        address=address or "local",
        logging_level="ERROR",
        log_to_driver=False,
        **({} if address else {"num_cpus": ENGINES, "include_dashboard": False}),
    )

    @ray.remote(num_cpus=1)
    class Engine:
        def step(self) -> None:
            import torch

            layer = torch.nn.Linear(64, 64)
            layer(torch.zeros(8, 64)).sum().backward()

    ray.get([engine.step.remote() for engine in [Engine.remote() for _ in range(ENGINES)]])


def store(folder: Path, runs: int) -> None:
    """A database of MLflow with ``runs`` runs, each written at once, by the public client."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("floor")
    metrics = [Metric(f"m{m}", 1.0, 1, step) for step in range(REPORTS) for m in range(METRICS)]
    for _ in range(runs):
        run = client.create_run(experiment).info.run_id
        client.log_batch(run, metrics)
        client.set_terminated(run)


def pictures(count: int) -> None:
    """``count`` charts as pictures."""
    import vl_convert

    for _ in range(count):
        vl_convert.svg_to_png(vl_convert.vegalite_to_svg(json.dumps(_LINE)), scale=1.5)


def study(folder: Path, runs: int) -> None:
    """All of a study's libraries: MLflow beside Ray from the start, pictures at the end."""
    writing = _beside("store", str(folder), "--runs", str(runs))
    engines(None)
    drawing = [_beside("pictures", "--runs", str(PICTURES // 2)) for _ in range(2)]
    import ray
    import scipy.stats  # noqa: F401

    ray.shutdown()
    for process in (writing, *drawing):
        if process.wait():
            raise SystemExit("a part of the floor failed")


def _beside(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.floor", *command])


def decode(files: Sequence[Path]) -> int:
    """Pixels of ``files``, decoded."""
    import numpy as np
    from PIL import Image

    return sum(np.asarray(Image.open(file).convert("RGB")).size for file in files)


def main() -> None:
    """Do what the command says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["study", "engines", "store", "pictures", "decode"])
    parser.add_argument("folder", nargs="?", type=Path, help="to write into, or to read from")
    parser.add_argument("--runs", type=int, default=1, help="of MLflow, or pictures")
    parser.add_argument("--address", help="of a running Ray (default: a local one)")
    given = parser.parse_args()
    if given.what == "engines":
        engines(given.address)
        print(FIRST_STEP, flush=True)
    elif given.what == "pictures":
        pictures(given.runs)
    elif given.what == "decode":
        files = sorted(given.folder.rglob("*.jpg"))
        with ProcessPoolExecutor(2) as processes:
            list(processes.map(decode, [files[::2], files[1::2]]))
    else:
        {"study": study, "store": store}[given.what](given.folder, given.runs)


if __name__ == "__main__":
    main()
