"""docs/cluster.md's commands for machines one has, over real ssh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import SPEC, events, judge
from hosts import Host, Hosts

from study.journal.events import EngineChanged

DOCUMENT = Path(__file__).parents[2] / "docs" / "cluster.md"
SERVER = "/usr/sbin/sshd"
CONFIGURATION = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
SetEnv PATH={path} HOME={home} OMP_NUM_THREADS=1
Subsystem sftp internal-sftp
"""
WHERE = {"on the first": ("one",), "on the others": ("two",), "on each": ("one", "two")}
LOOK = """
import sys, time, urllib.request
for seconds in range(120):
    try:
        urllib.request.urlopen(sys.argv[1] + "/health", timeout=5).close()
        break
    except OSError:
        time.sleep(1)
headers = {"Content-Type": "application/json", "Origin": sys.argv[1]}
address = sys.argv[1] + "/ajax-api/2.0/mlflow/experiments/search"
query = urllib.request.Request(address, b'{"max_results": 100}', headers)
print(urllib.request.urlopen(query, timeout=60).read().decode())
"""
"""What a browser asks of the page that a forwarded port shows, once it is up."""


class Ssh:
    """Two hosts with an ssh server each, and one that is a person's own machine.

    They share the studies' folder, and each has a home of its own.
    """

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self._folder, self._home = folder, folder / "home"
        for key in ("host_key", "key"):
            words = ["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", str(folder / key)]
            subprocess.run(words, check=True)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        values = {"folder": folder, "path": path, "home": self._home}
        (folder / "sshd_config").write_text(CONFIGURATION.format(**values))
        temporary = [Path("/tmp/ray"), Path("/run/sshd"), self._home]
        self.own = hosts.add("own")
        self._hosts = {name: hosts.add(name, temporary) for name in ("one", "two")}
        for host in self._hosts.values():
            host.popen(SERVER, "-D", "-f", str(folder / "sshd_config"))

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def run(self, name: str, command: str) -> str:
        """A command on a host, as from one's own machine."""
        return self._from_own("ssh", name, command)

    def copy(self, name: str, file: str, other: str) -> None:
        """A file below the home, from one host to another."""
        here, there = str(self._folder / "copied"), str(self._home / file)
        for words in ([f"{name}:{there}", here], [here, f"{other}:{there}"]):
            self._from_own("scp", "-q", "-p", *words)

    def look(self, forward: str, command: str, page: str) -> str:
        """The studies in a page that ``command`` serves on a host, seen through ``forward``."""
        program, *words = forward.split()
        self.own.popen(program, *self._options(), *words, command)
        return self.own.run(sys.executable, "-c", LOOK, page).stdout

    def _options(self) -> list[str]:
        return [
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectionAttempts=30",
            "-i", str(self._folder / "key"),
        ]  # fmt: skip

    def _from_own(self, program: str, *words: str) -> str:
        done = self.own.run(program, *self._options(), *words, check=False)
        assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
        return done.stdout


def commands() -> list[tuple[str, str]]:
    """The document's commands for machines one has, each with the comment that says where."""
    section = DOCUMENT.read_text().partition("## Machines you have\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (\S.*?) +# (.+)$", section, re.MULTILINE)


@pytest.mark.timeout(600)
def test_machines_one_has(hosts: Hosts, tmp_path: Path, home: Path, reference: Path) -> None:
    if not shutil.which(SERVER) or not shutil.which("ssh"):
        reason = "not installed: sshd, ssh (Debian's openssh-server, openssh-client)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    folder = tmp_path / "ssh"
    folder.mkdir()
    ssh = Ssh(hosts, folder)
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({**SPEC, "engines": {"device": "cpu", "slots": 1, "count": 2}}))
    exported = ""
    for command, comment in commands():
        words = command.replace("FIRST", ssh["one"].address).replace("FILE", f"{file}")
        if command.startswith("export"):
            exported = f"{words}; "
        elif comment.startswith("once"):
            ssh.run("one", words)
            ssh.run("two", "mkdir -p ~/.ray")
            ssh.copy("one", ".ray/auth_token", "two")
        elif page := re.fullmatch("from yours; there `(.+)`, here (.+)", comment):
            shown = ssh.look(words, f"{page[1]} --home {home}", page[2])
            assert f'"{SPEC["name"]}"' in shown
        else:
            if command.startswith("study launch"):
                words += f" --home {home}"
            for name in next(names for where, names in WHERE.items() if comment.startswith(where)):
                ssh.run(name, f"{exported}{words}")
    nodes = {event.host for event in events(home, EngineChanged) if event.state == "started"}
    assert nodes <= {"one", "two"}
    assert not (found := judge(home, reference)), found
    for name in ("one", "two"):
        assert not ssh[name].left("ray::|raylet|gcs_server")
