"""`clusters/slurm.sh` on a real SLURM of two nodes, which share a host."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path

import harness
import pytest
import waiting
import yaml
from harness import PATIENCE, HarnessError, events, table
from hosts import Hosts

from study.journal.events import EngineChanged, LaunchBegan, StudyInterrupted

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sh"
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=here
SlurmctldHost=slurm({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
CommunicationParameters=NoInAddrAny
ReturnToService=2
NodeName=n1 NodeHostname=slurm NodeAddr={address} Port=16821 CPUs={cpus} State=UNKNOWN
NodeName=n2 NodeHostname=slurm NodeAddr={address} Port=16822 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""


class Slurm:
    """A controller and two nodes."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.host = hosts.add("slurm", [Path("/run/munge")])
        self._folder, self._file = folder, folder / "slurm.conf"

    def start(self) -> None:
        """Start the daemons; both nodes are on the one host."""
        for made in ("state", "spool-n1", "spool-n2"):
            (self._folder / made).mkdir(parents=True)
        address = self.host.address
        values = {"folder": self._folder, "cpus": os.cpu_count(), "address": address}
        self._file.write_text(CONFIGURATION.format(**values))
        self.host.run("bash", "-c", f"echo {address} n1 n2 >> /etc/hosts; chown munge /run/munge")
        self.host.run("runuser", "-u", "munge", "--", "munged")
        self.run("slurmctld", "-f", str(self._file))
        for node in ("n1", "n2"):
            self.run("slurmd", "-f", str(self._file), "-N", node)
        until(
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T", check=False).count("idle") == 2,
            "idle nodes",
        )

    def run(self, *words: str, **options: object) -> str:
        return self.host.run("env", f"SLURM_CONF={self._file}", *words, **options).stdout

    def state(self, job: str) -> str:
        return self.run("squeue", "-h", "-j", job, "-o", "%T", check=False).strip()


until = partial(waiting.until, patience=PATIENCE, pause=0.2)


@pytest.fixture
def slurm(hosts: Hosts, tmp_path: Path) -> Slurm:
    if absent := [name for name in DAEMONS if shutil.which(name) is None]:
        reason = f"not installed: {', '.join(absent)} (Debian's slurmctld, slurmd, munge)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    slurm = Slurm(hosts, tmp_path / "slurm")
    slurm.start()
    return slurm


def submit(slurm: Slurm, folder: Path, home: Path) -> str:
    """The number of a job that runs the small study on both nodes."""
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump({**harness.SPEC, "engines": {"device": "cpu", "slots": 1}}))
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    asked = ["--nodes=2", "--cpus-per-task=1", "--gpus-per-node=0", f"--chdir={folder}"]
    command = ["sbatch", "--parsable", *asked, str(SCRIPT), str(file), "--home", str(home)]
    return slurm.run("env", f"PATH={tools}", *command).strip()


@pytest.mark.timeout(600)
def test_a_job_that_is_cancelled_does_not_come_back(
    slurm: Slurm, tmp_path: Path, home: Path
) -> None:
    """It would be billed again, two minutes later."""
    job = submit(slurm, tmp_path, home)
    until(lambda: harness.reports(home / harness.NAME) >= 2, "reports")
    slurm.run("scancel", job)
    until(lambda: slurm.state(job) in ("", "CANCELLED", "PENDING"), "the job's end")
    assert "JobState=CANCELLED" in slurm.run("scontrol", "show", "job", job)
    assert not slurm.host.left("ray::|raylet|gcs_server")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_suspends_its_study_goes_back_to_the_queue_and_finishes_it(
    slurm: Slurm, tmp_path: Path, home: Path, reference: Path
) -> None:
    job = submit(slurm, tmp_path, home)
    study = home / harness.NAME
    log = tmp_path / f"study-{job}.out"

    def said() -> str:
        return log.read_text() if log.exists() else ""

    try:
        until(lambda: harness.reports(study) >= 8, "reports")
        slurm.run("scancel", "--batch", "--signal=TERM", job)
        until(lambda: slurm.state(job) == "PENDING", "the job back in the queue")
        assert len(events(home, StudyInterrupted)) == 1
        # SLURM holds a job that was put back for two minutes.
        slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")
        until(
            lambda: slurm.state(job) in ("", "COMPLETED", "FAILED"), "the job's end", 2 * PATIENCE
        )
    except HarnessError as error:
        ray = tmp_path / f"ray-{job}.out"
        raise HarnessError(
            f"{error}\n{said()}\n{ray.read_text() if ray.exists() else ''}"
        ) from error
    assert len(events(home, LaunchBegan)) == 2, said()
    assert table(home) == table(reference), said()
    nodes = {e.node for e in events(home, EngineChanged) if e.state == "started"}
    assert len(nodes) == 4, "two nodes, each time"
    assert not slurm.host.left("ray::|raylet|gcs_server")
