"""cluster.yaml is what `ray up` accepts: checked offline, by the functions `ray up` calls."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

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


def test_ray_accepts_the_file_changed_as_it_says_for_machines_one_has(config):
    comment = TEXT[TEXT.index("# Machines you already have") :]
    sentence = " ".join(line.lstrip("# ") for line in comment.splitlines() if line[:2] != "#|")
    deleted = re.search(r"delete (.*?), mount", sentence).group(1)
    for key in re.findall(r"\w+_\w+", deleted):
        del config[key]
    block = "\n".join(line[3:] for line in comment.splitlines() if line.startswith("#|"))
    config.update(yaml.safe_load(block))

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])
