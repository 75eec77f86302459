"""What it costs that engines do not see the studies' home: trials a second, beside engines that do.

    python -m benchmarks.home                  # as root: a node gets a mount of its own

A study of the digits (an MLP, banks of 8) on one Ray node of two engines, beside a head that trains
nothing. In turn the node sees the home, and has an empty folder in its place: its engines then have
the home through the driver's node. The clock runs from the first engine that is ready to the
study's end.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import yaml
from ray._common.network_utils import find_free_port

from benchmarks.paired import table_head, table_line
from study.journal import read_entries
from study.journal.events import EngineChanged, StudyFinished

TARGET = 0.95
"""Of the trials a second with a home that is seen."""
HIDDEN = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
SAID = "Ray runtime started"


def spec(trials: int) -> dict[str, object]:
    """A random search of the digits and its confirm runs, twelve reports a trial."""
    beta = {"low": 1e-3, "high": 10, "log": True}
    search = {"space": {"beta": beta}, "trials": trials, "batch": trials}
    return {
        "name": "home",
        "question": "What does a home cost that engines do not see?",
        "data": "digits",
        "model": {"name": "mlp", "latent": 8, "width": 64},
        "training": {"epochs": 40, "batch_size": 64, "reports": 12},
        "seeds": [0, 1],
        "engines": {"device": "cpu", "count": 2, "slots": 8},
        "arms": {
            "search": {"balancer": "fixed_beta", "search": search},
            "optimal": {"balancer": "optimal_sigma"},
        },
    }


@contextmanager
def node(*words: str, hide: tuple[Path, Path] | None = None) -> Iterator[None]:
    """A Ray node; if ``hide``, the first folder is mounted over the second where it runs."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *words]
    command += ["--include-dashboard=false"] * ("--head" in words)
    if hide:
        command = ["unshare", "--mount", "bash", "-ec", HIDDEN, "-", *map(str, hide), *command]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = ""
        while SAID not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def rate(seen: bool, trials: int) -> float:
    """Trials a second of a study whose engines see its home, or do not."""
    with tempfile.TemporaryDirectory(prefix="home-") as scratch:
        studies, empty = Path(scratch, "studies"), Path(scratch, "empty")
        for folder in (studies, empty):
            folder.mkdir()
        file = Path(scratch, "home.yaml")
        file.write_text(yaml.safe_dump(spec(trials)))
        address = f"127.0.0.1:{find_free_port()}"
        port = f"--port={address.rpartition(':')[2]}"
        ports = "--dashboard-agent-listen-port=0"
        hide = None if seen else (empty, studies)
        with (
            node("--head", port, "--num-cpus=0", ports),
            node(f"--address={address}", "--num-cpus=2", ports, hide=hide),
        ):
            command = [sys.executable, "-m", "study", "launch", str(file)]
            command += ["--home", str(studies), "--address", address]
            subprocess.run(command, check=True, capture_output=True)
        entries = list(read_entries(studies / "home"))
        began = [e for e in entries if isinstance(e.event, EngineChanged)]
        assert {e.event.served for e in began if e.event.state == "started"} == {not seen}
        ended = next(e.time for e in entries if isinstance(e.event, StudyFinished))
        return (trials + 4) / (ended - min(e.time for e in began))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--toy", action="store_true", help="one pair of four trials")
    options = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    pairs, trials = (1, 4) if options.toy else (options.pairs, options.trials)
    rates: dict[bool, list[float]] = {True: [], False: []}
    for index in range(pairs):
        for seen in (True, False) if index % 2 else (False, True):
            rates[seen].append(rate(seen, trials))
    ratios = sorted(a / b for a, b in zip(rates[False], rates[True], strict=True))
    middle = median(ratios)
    verdict = f">= {TARGET:g} {'met' if middle >= TARGET else 'MISSED'}"
    print(table_head(("trials/s served", "trials/s seen", "ratio", "range", "target")))
    print(
        table_line(
            f"{median(rates[False]):.2f}",
            f"{median(rates[True]):.2f}",
            f"{middle:.3f}",
            f"{ratios[0]:.3f}-{ratios[-1]:.3f}",
            verdict,
        )
    )


if __name__ == "__main__":
    main()
