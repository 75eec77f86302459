"""A server that a group shares: users with ids of their own, each with Rays, studies and homes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster import RAY
from harness import NAME, SPEC, events, reports, table, with_arms
from hosts import Hosts
from users import Shared, User

from study.journal.events import EngineDied

ARMS = {"optimal": SPEC["arms"]["optimal"]}
TOKEN = ".ray/auth_token"
START = f"""
export RAY_AUTH_MODE=token
{RAY} get-auth-token --generate
exec {RAY} start --head --num-cpus=1 --include-dashboard=0 --dashboard-agent-listen-port=0
"""
LOCAL = """
from contextlib import ExitStack
from pathlib import Path
import ray
from study.launching.ray_cluster import ray_up
from study.spec import load_spec

with ExitStack() as stack:
    ray_up(None, load_spec("quickstart"), stack)
    print(ray._private.worker._global_node.get_session_dir_path())
"""


@pytest.fixture
def shared(hosts: Hosts) -> Shared:
    return Shared(hosts)


def write(user: User, **changes: object) -> None:
    """A study file in the user's home; readable, as everything of theirs is."""
    (user.seen / "small.yaml").write_text(yaml.safe_dump(with_arms(ARMS, seeds=[0], **changes)))


def refused(user: User, *words: str, **settings: str) -> str:
    """What ``study`` says that ends, as it has to, in an error with a remedy."""
    done = user.study(*words, **settings)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    error, remedy = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert remedy.startswith("  ")
    return error


@pytest.mark.timeout(300)
def test_anothers_ray_is_not_joined(shared: Shared) -> None:
    one, other = shared.user("one"), shared.user("other")
    write(other)
    shared.host.run(*one.words("bash", "-ec", START))
    address = shared.host.run("cat", "/tmp/ray/ray_current_cluster").stdout
    assert "no Ray of yours" in refused(other, "launch", "small.yaml", "--address", "auto")
    known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": (one.seen / TOKEN).read_text()}
    there = ("launch", "small.yaml", "--address", address)
    assert "another user's" in refused(other, *there, **known)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_has_studies_of_their_own_and_looks_at_the_others(shared: Shared) -> None:
    one, other = shared.user("one"), shared.user("other")
    write(one, training={**SPEC["training"], "epochs": 50_000, "reports": 5_000})
    write(other, training={**SPEC["training"], "epochs": 5, "reports": 2})
    shared.host.run(*one.words("bash", "-ec", START))
    launch = one.words(sys.executable, "-m", "study", "launch", "small.yaml", "--address", "auto")
    with (shared.host.folder / "one.log").open("wb") as log:
        running = shared.host.popen(*launch, stdout=log, stderr=log)
    studies = one.seen / "studies"
    while reports(studies / NAME) < 2:
        assert running.poll() is None, Path(log.name).read_text()
        time.sleep(0.2)

    os.symlink(one.home / "studies" / "data", other.folder("studies") / "data")
    done = other.study("launch", "small.yaml")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in table(other.seen / "studies")] == ["complete"]

    ones = ("--home", f"{one.home}/studies")
    assert other.study("status", NAME, *ones).stdout.startswith("small: running")
    for words in (["report", NAME], ["stop", NAME], ["clean", NAME], ["resume", NAME]):
        refused(other, *words, *ones)
    assert running.poll() is None
    stopped = one.study("stop", NAME)
    assert stopped.stdout.startswith("stopped; nothing is lost"), stopped.stderr
    assert running.wait() == 130
    assert not events(studies, EngineDied)


@pytest.mark.timeout(300)
def test_rays_folder_is_another_users(shared: Shared) -> None:
    one, other = shared.user("one"), shared.user("other")
    shared.host.run("install", "--directory", f"--owner={one.number}", "--mode=755", "/tmp/ray")
    session = shared.host.run(*other.words(sys.executable, "-c", LOCAL)).stdout.splitlines()[-1]
    assert session.startswith("/tmp/ray-")
    assert shared.host.run("ls", "/tmp").stdout.split() == ["ray"]
