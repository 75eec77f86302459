"""cluster.yaml is what `ray up` accepts: checked offline, by the functions `ray up` calls."""

import copy
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from ray.autoscaler._private.util import prepare_config, validate_config, with_envs

from study.cli import main
from study.spec import load_spec

FILE = Path(__file__).parents[1] / "cluster.yaml"
TEXT = FILE.read_text()


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


def test_ray_accepts_the_file_for_aws(config):
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    workers = prepared["available_node_types"]["gpu"]
    assert (workers["min_workers"], workers["max_workers"]) == (0, prepared["max_workers"])
    assert prepared["available_node_types"][prepared["head_node_type"]]["max_workers"] == 0


def test_only_workers_are_spot_and_only_they_have_gpus(config):
    head, gpu = (config["available_node_types"][name]["node_config"] for name in ("head", "gpu"))
    assert "InstanceMarketOptions" not in head
    assert gpu["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["InstanceType"].startswith("g")
    assert not head["InstanceType"].startswith(("g", "p"))


def test_nodes_install_this_package_with_its_pins_into_one_environment(config):
    assert config["file_mounts"]["~/study"] == "."
    setup = "\n".join(config["setup_commands"])
    assert "-r ~/study/requirements.txt" in setup
    assert "--no-deps -e ~/study" in setup
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("~/venv/bin/ray" in command for command in starts)


def test_every_node_and_the_driver_authenticate_by_one_token(config):
    token = "~/.ray/auth_token"
    assert config["file_mounts"] == {"~/study": ".", token: token}
    assert "ray get-auth-token --generate" in TEXT
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    starts = [command for command in starts if " start " in command]
    assert len(starts) == 2
    assert all("; RAY_AUTH_MODE=token ~/venv/bin/ray start" in command for command in starts)
    assert "RAY_AUTH_MODE=token' >> ~/.bashrc" in "\n".join(config["setup_commands"])


def test_the_studies_home_is_the_mounted_file_system(config):
    assert "STUDY_HOME=/mnt/studies" in "\n".join(config["setup_commands"])
    mount = next(command for command in config["initialization_commands"] if "mount -t" in command)
    assert mount.split(":/ ")[1].startswith("/mnt/studies")
    assert f".efs.{config['provider']['region']}." in mount


def test_each_placeholder_is_explained_and_stands_in_one_place():
    code = "\n".join(line.partition("#")[0] for line in TEXT.splitlines())
    comments = "\n".join(line for line in TEXT.splitlines() if line.startswith("#"))
    placeholders = re.findall(r"\b[a-z]+-0123456789abcdef0\b", code)
    assert sorted(placeholders) == ["ami-0123456789abcdef0", "fs-0123456789abcdef0"]
    assert all(name in comments for name in placeholders)


def test_the_study_asks_for_workers_that_are_not_up_yet(config):
    """`auto` counts the devices that there are: at the start none but the head's cores."""
    (shown,) = re.findall(r"^#   ray exec cluster.yaml --tmux '(.*)'$", TEXT, re.MULTILINE)
    there, launch = shown.split(" && ")
    assert there == f"cd {next(iter(config['file_mounts']))}"
    _, verb, file, *options = shlex.split(launch)
    changes = [value for name, value in pairwise(options) if name == "--set"]
    engines = load_spec(FILE.parent / file, changes).engines
    assert config["available_node_types"]["gpu"]["min_workers"] == 0
    assert (engines.device, engines.count) == ("cuda", config["max_workers"])
    assert CliRunner().invoke(main, [verb, *options, "--help"]).exit_code == 0


def changed_for_own_machines(config: dict[str, Any]) -> None:
    """Do to ``config`` what the comment at the end of the file tells."""
    comment = TEXT[TEXT.index("# Machines you already have") :]
    sentence = " ".join(line.lstrip("# ") for line in comment.splitlines() if line[:2] != "#|")
    deleted = re.search(r"delete (.*?), mount", sentence).group(1)
    for key in re.findall(r"\w+_\w+", deleted):
        del config[key]
    setting, before = re.search(r"put (\S+) before `(.*?)`", sentence).groups()
    stop, start = config["head_start_ray_commands"]
    assert start.count(before) == 1
    config["head_start_ray_commands"] = [stop, start.replace(before, f"{setting} {before}")]
    block = "\n".join(line[3:] for line in comment.splitlines() if line.startswith("#|"))
    config.update(yaml.safe_load(block))


def test_ray_accepts_the_file_changed_as_it_says_for_machines_one_has(config):
    changed_for_own_machines(config)
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


def test_on_machines_one_has_the_autoscaler_is_the_one_that_starts_all_workers(config, tmp_path):
    """Its version 2 counts the head as one of them: all nodes are of one type there."""
    changed_for_own_machines(config)
    ray = tmp_path / "venv" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text('#!/bin/sh\necho "$RAY_enable_autoscaler_v2 $RAY_AUTH_MODE $*"\n')
    ray.chmod(0o755)
    as_ray_up = with_envs(config["head_start_ray_commands"], {"RAY_enable_autoscaler_v2": "1"})
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", as_ray_up[-1]], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("0 token start --head --port=6379 ")
