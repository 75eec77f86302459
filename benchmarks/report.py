"""What a report of a large study takes: time, memory and size of `study report`.

    TMPDIR=/dev/shm python -m benchmarks.report --trials 2000 --reports 100

Conductor and journal are the product's and write a whole study: random and TPE searches, one under
Hyperband beside the trials asked for, automatic arms, confirm runs with their files. The reports
are made up, with the metrics and the pictures of the quickstart's. Then the command runs as a
process of its own, several times. Every report is flushed to disk: in memory that takes no time.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from PIL import Image

from benchmarks.made_up import begin, follow
from benchmarks.paired import table_head, table_line
from study.journal import StudyHome
from study.journal.events import EngineChanged, StudyFinished
from study.search import Conductor, Request
from study.spec import StudySpec

NAME, DIMS, ENGINES = "large", 64, 4
SECONDS, MEMORY, PAGE = 10.0, 1024, 5.0
"""What a report may take: seconds, MiB at the peak, MiB of its page."""
SHAPE, SECONDS_PER_IMAGE = "mlp", 1e-5
KEY = {"device": "cpu", "torch": "2", "dtype": "float32", "threads": 1, "width": 1}
FEATURES = {
    "network": "none: every distance is made up",
    "sha256": "0" * 64,
    "preprocessing": "none",
    "dims": 64,
    "n": 297,
}
PICTURES = ("reconstructions", "interpolations", "uncertainty", "samples", "samples_uncertainty")
FINAL_METRICS = {
    "discretised_bits_per_dim": 4.7, "coverage_50": 0.5, "coverage_90": 0.9, "coverage_95": 0.95,
    "calibration_error": 0.01, "nll": -40.0, "smoothness": 1.4, "mutual_information": 5.5,
    "marginal_kl": 4.5, "total_correlation": 4.0, "dimension_kl": 0.5, "mmd": 0.01,
    "effective_latents": 12.0,
    **{f"{what}_classifier_{of}": 0.5
       for of in ("rec", "gen1", "interpolation")
       for what in ("frechet", "kid", "precision", "recall", "density", "coverage")},
}  # fmt: skip


def study_of(trials: int, reports: int) -> StudySpec:
    """A study with ``trials`` trials that train to their end, and a tenth as many to be pruned."""
    seeds, replicates = (10, 3) if trials >= 200 else (2, 2)
    automatic = ("learned_sigma", "optimal_sigma", "running_average", "asperti_trentin")
    confirms = seeds * (len(automatic) + 1 + replicates)
    space = {"beta": {"low": 1e-4, "high": 10, "log": True}}
    tpe = (trials - confirms) // (2 * replicates)

    def hand(sampler: str, trials: int, **search: Any) -> dict[str, Any]:
        searched = {"space": space, "sampler": sampler, "trials": trials, **search}
        return {"balancer": "fixed_beta", "search": searched}

    return StudySpec.from_dict(
        {
            "name": NAME,
            "question": "What does it take to report a large study?",
            "data": "digits",
            "model": {"name": "mlp", "latent": 16, "width": 64},
            "training": {"epochs": reports, "batch_size": 64, "reports": reports},
            "seeds": list(range(seeds)),
            "evaluation": {"features": ["classifier"]},
            "arms": {
                "random-beta": hand("random", trials - confirms - replicates * tpe),
                "tpe-beta": hand("tpe", tpe, replicates=replicates),
                "hyperband-beta": hand("tpe", max(8, trials // 10), pruner="hyperband"),
                **{name.replace("_", "-"): {"balancer": name} for name in automatic},
            },
        }
    )


class MadeUp:
    """Reports of trials whose objective is best at beta 0.01, and the files of confirm runs."""

    def __init__(self, home: StudyHome, reports: int) -> None:
        self._home, self._reports = home, reports
        self._draw = random.Random(0)

    def report(self, request: Request, step: int) -> dict[str, Any]:
        """Report ``step`` of a trial; every engine has its share of the trials."""
        engine = f"engine-{crc32(request.trial.encode()) % ENGINES}"
        beta = request.settings["balancer"].get("beta", 0.01)
        elbo = -20 + math.log10(beta / 0.01) ** 2 + 20 / step + self._draw.gauss(0, 0.5)
        rate = 20 / (1 + math.sqrt(beta)) * step / self._reports
        found = {
            "step": step,
            "images": step * 1280,
            "metrics": {
                "train/loss": 60 + elbo, "sigma": math.sqrt(beta), "k": 1.0, "beta": beta,
                **self._measured("train", elbo, rate, ("S", "MSE", "R")),
                **self._measured("validation", elbo, rate),
            },
            "seconds": {
                "training": 1280 * SECONDS_PER_IMAGE * self._draw.uniform(0.9, 1.2),
                "evaluation": 0.004, "second_stage": 0.0,
            },
            "engine": engine,
            "start": {"engine": engine, "shape": SHAPE, "key": KEY,
                      "seconds_per_image": SECONDS_PER_IMAGE},
        }  # fmt: skip
        if step == self._reports:
            found["end"] = self._end(request, elbo, rate)
        return found

    def _end(self, request: Request, elbo: float, rate: float) -> dict[str, Any]:
        end: dict[str, Any] = {"state": "complete", "metrics": self._measured("test", elbo, rate)}
        if request.phase == "confirm":
            final = {f"test/{k}": v * self._draw.gauss(1, 0.05) for k, v in FINAL_METRICS.items()}
            end |= {"metrics": end["metrics"] | final, "artifacts": self._files(request.trial)}
        return end

    def _measured(
        self, split: str, elbo: float, rate: float, only: tuple[str, ...] = ()
    ) -> dict[str, float]:
        error = math.exp(elbo / 32) * self._draw.gauss(1, 0.01)
        values = {
            "S": error, "MSE": error / DIMS, "R": rate, "calibrated_negative_elbo": elbo,
            "bits_per_dim": 8 + elbo / DIMS / math.log(2), "active_units": 16.0,
            "variance_law": self._draw.gauss(1, 0.01),
        }  # fmt: skip
        return {f"{split}/{name}": values[name] for name in only or values}

    def _files(self, trial: str) -> dict[str, str]:
        folder = self._home.trial(trial)
        folder.mkdir(parents=True)
        levels = [i / 40 for i in range(1, 40)]
        tables = {
            "calibration_quantiles": (("expected", "observed"), [(p, p**1.1) for p in levels]),
            "calibration_variances": (("predicted", "observed"), [(0.01, 0.011)]),
        }
        files = []
        for name, (head, rows) in tables.items():
            files.append(folder / f"{name}.csv")
            with files[-1].open("w", newline="") as file:
                csv.writer(file).writerows([head, *rows])
        for name in PICTURES:  # of noise, so that each takes 35 kB, as Fashion-MNIST's do
            pixels = np.frombuffer(self._draw.randbytes(186 * 186), np.uint8)
            files.append(folder / f"{name}.png")
            Image.fromarray(pixels.reshape(186, 186)).save(files[-1])
        return {file.stem: str(file.relative_to(self._home.path)) for file in files}


def write_study(studies: Path, trials: int, reports: int) -> None:
    """Write the home of a finished study of :func:`study_of` into ``studies``."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec, home = study_of(trials, reports), StudyHome(studies, NAME)
    engines = [
        EngineChanged(f"engine-{i}", "started", "cpu", width=1, startup_seconds=3.0,
                      features={"classifier": FEATURES})
        for i in range(ENGINES)
    ]  # fmt: skip
    journal, made_up = begin(spec, home, engines), MadeUp(home, reports)
    conductor = Conductor(spec, journal, DIMS, slots=1)
    follow(conductor, made_up.report)
    for engine in engines:
        spent = {"training": 1e5, "waiting": 10.0}
        conductor.note(replace(engine, state="stopped", seconds=spent))
    conductor.note(StudyFinished())
    journal.close()


@dataclass(frozen=True)
class Run:
    """One `study report` as a process."""

    seconds: float
    """By the wall clock."""
    computing: float
    """CPU seconds of all its threads."""
    memory: float
    """Resident at the peak, in MiB."""


def run_report(studies: Path, name: str) -> Run:
    """Run the command once, for the study ``name``."""
    command = [sys.executable, "-m", "study", "report", name, "--home", str(studies)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"study report failed with exit code {process.returncode}")
    seconds = time.perf_counter() - start
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def mebibytes(*files: Path) -> float:
    """The size of files together."""
    return sum(file.stat().st_size for file in files) / 2**20


def judged(value: float, limit: float) -> str:
    """A limit, and whether it is met."""
    return f"<= {limit:g} {'met' if value <= limit else 'MISSED'}"


def spread(values: Sequence[float]) -> tuple[str, str]:
    """The median, and the range."""
    return f"{median(values):.1f}", f"{min(values):.1f}-{max(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000, help="that are not pruned (2000)")
    parser.add_argument("--reports", type=int, default=100, help="reports a trial (default 100)")
    parser.add_argument("--runs", type=int, default=5, help="timed reports (default 5)")
    parser.add_argument("--keep", type=Path, help="studies' home to write, and to leave there")
    parser.add_argument("--toy", action="store_true", help="a few trials: whether it runs at all")
    options = parser.parse_args()
    sizes = (30, 3) if options.toy else (options.trials, options.reports)
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        studies = options.keep or Path(folder)
        # In a process of its own: a child's peak begins with what its parent held.
        writer = get_context("spawn").Process(target=write_study, args=(studies, *sizes))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the study could not be written")
        runs = [run_report(studies, NAME) for _ in range(1 if options.toy else options.runs)]
        home = StudyHome(studies, NAME)
        journal, page = mebibytes(*home.journal.glob("*.log")), home.report / "report.html"
        tables = mebibytes(*home.path.glob("*.parquet"))
        size = mebibytes(page)
    seconds, computing = [run.seconds for run in runs], [run.computing for run in runs]
    memory = max(run.memory for run in runs)
    print(table_head(["`study report`", "measured", "range", "target"]))
    print(table_line("seconds", *spread(seconds), judged(median(seconds), SECONDS)))
    print(table_line("CPU seconds", *spread(computing), ""))
    print(table_line("MiB at the peak", f"{memory:.0f}", "", judged(memory, MEMORY)))
    print(table_line("MiB of its page", f"{size:.2f}", "", judged(size, PAGE)))
    print(table_line("MiB of journal", f"{journal:.1f}", "", ""))
    print(table_line("MiB of tables", f"{tables:.1f}", "", ""))


if __name__ == "__main__":
    main()
