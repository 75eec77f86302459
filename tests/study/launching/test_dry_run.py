"""``--dry-run``: what a study would run and take."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
import ray
from own_models import MODELS

from study.launching import dry_run as module
from study.launching.dry_run import estimate
from study.spec import SpecError, StudySpec
from vae_core.geometry import ImageShape
from vae_core.models import build

# digits: 1,500 training images, 220 of them held out; 20 steps an epoch
SPEC = {
    "name": "planned",
    "data": {"name": "digits", "validation": 220},
    "model": {"name": "mlp", "latent": 4, "width": 8},
    "training": {"epochs": 1.5, "batch_size": 64, "reports": 5},
    "seeds": [0, 1, 2],
    "engines": {"device": "cpu", "count": 3, "slots": 2},
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {
                "space": {"beta": {"low": 1e-3, "high": 10, "log": True}},
                "trials": 4,
                "replicates": 2,
            },
        },
        "learned": {"balancer": "learned_sigma"},
    },
}


@pytest.fixture
def planned(tmp_path):
    return lambda **changes: estimate(
        StudySpec.from_dict({**SPEC, **changes}), tmp_path / "home", None
    )


def test_trials_and_images_of_every_arm(planned):
    found = planned()
    a_trial = 30 * 64
    assert [(a.arm, a.search_trials, a.confirm_runs, a.images) for a in found.arms] == [
        ("random", 8, 6, 14 * a_trial),
        ("learned", 0, 3, 3 * a_trial),
    ]


def test_what_the_images_were_taken_from_is_said(planned):
    assert "\ndata: 1,500 train and 297 test images of 1x8x8: scikit-learn" in str(planned())


def test_how_a_users_model_starts_is_said(planned, tmp_path, monkeypatch):
    (tmp_path / "planned_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    text = str(planned(model={"name": "planned_models:Plain", "latent": 2}))
    assert "\nmodel planned_models:Plain: parameters start: 4 as their layers do\n" in text


def test_trials_of_another_model_are_warned_of(planned, told, tmp_path):
    shutil.copytree(told.path, tmp_path / "home" / "told")
    search = {**SPEC["arms"]["random"]["search"], "sampler": "tpe", "warm_start": {"study": "told"}}
    arms = {"a": {"balancer": "fixed_beta", "search": search}, "b": {"balancer": "learned_sigma"}}
    model = {**SPEC["model"], "width": 16}
    text = str(planned(data="digits", model=model, arms=arms))
    assert "\na is told 2 trials of study 'told', arm 'random' (1 others left out)\n" in text
    assert "\nwarning: arm 'a' is told trials of another training: model.width 8 " in text


def test_memory_disk_and_time(planned):
    found = planned()
    model = build(SPEC["model"], ImageShape(1, 8, 8))
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert (found.device, found.engines, found.slots) == ("cpu", 3, 2)
    # parameters, gradients and two moments in each of 6 rows
    assert found.memory_bytes == 6 * 4 * weights
    # two checkpoints a row, 9 confirm runs' weights, 17 trials of 5 reports
    assert found.disk_bytes == 2 * found.memory_bytes + 9 * weights + 17 * 5 * 2000
    assert 0 < found.seconds < 3600
    for keep, checkpoints in (("last", 6 * 2 + 17), ("all", 17 * 5)):
        more = planned(checkpoints={"keep": keep})
        assert more.disk_bytes - found.disk_bytes == (checkpoints - 6 * 2) * 4 * weights


def test_the_text_says_all_of_it(planned):
    text = str(planned())
    assert text.startswith("planned would run 17 trials on 32,640 images:\n")
    assert "8 to search,   6 to confirm,          26,880 images" in text
    assert "3 engine(s) on cpu, 2 slot(s) each" in text
    assert "\nmemory about " in text
    assert ", disk about " in text
    assert "\ntime about " in text


def test_memory_that_a_container_withholds_is_said(planned):
    found = planned()
    assert " may be used here" not in str(replace(found, usable_bytes=2900 * 2**20))
    text = str(replace(found, usable_bytes=2400 * 2**20))
    assert (
        "\nwarning: 3 engine(s), Ray and the driver need about 2,700 MiB, and 2,400 may be" in text
    )
    assert text.partition("may be used here: ")[2].startswith("set engines.count to 2\n")
    text = str(replace(found, usable_bytes=2**30))
    assert ", and 1,024 may be used here: it takes more for one engine\n" in text
    assert " may be used here" not in str(replace(found, usable_bytes=None))


def test_bfloat16_that_the_processor_cannot_multiply_is_said(planned, monkeypatch):
    monkeypatch.setattr("study.diagnosing.diagnosis.has_bfloat16", lambda: False)
    engines = {"device": "cpu", "count": 3, "slots": 2}
    said = "\nwarning: bfloat16: no instructions to multiply it; set engines.precision to"
    assert said in str(planned(engines={**engines, "precision": "bfloat16"}))
    assert "bfloat16" not in str(planned(engines=engines))


def test_beta_of_another_loss_is_said_in_this_one_too(planned):
    balancer = {"name": "fixed_beta", "beta": 0.01, "convention": "pytorch_vae"}
    text = str(planned(arms={"fixed": {"balancer": balancer}}))
    assert "\narm 'fixed': beta 0.01 for the loss pytorch_vae (mean) is 0.32 in S/2" in text


def test_a_cap_that_will_be_hit_is_said(planned):
    text = str(planned(max_images=8_160, max_hours=1e-9, max_device_hours=1e6))
    assert "\nmax_images: 8,160 would end it early, at about 25% of it" in text
    assert "\nmax_hours: 1e-09 would end it early" in text
    assert "max_device_hours" not in text


def test_slots_left_open_are_those_a_launch_would_time(planned):
    found = planned(engines={"device": "cpu", "count": 3})
    assert found.slots in {1, 4}  # 11 trials may run at once, on 3 engines
    assert 0 < found.seconds < 3600


def test_a_model_that_an_engine_trains_one_of_is_said_with_the_reason(planned):
    found = planned(
        model={"name": "own_layers:Recurrent", "latent": 3}, engines={"device": "cpu", "count": 1}
    )
    assert found.slots == 1
    line = "model: an engine trains one trial at a time: torch.func.vmap cannot run 'layer'"
    assert line in str(found)


def test_only_data_are_made(planned, tmp_path):
    planned()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["data"]
    assert not ray.is_initialized()


def test_what_launch_would_refuse_is_refused(planned):
    with pytest.raises(SpecError, match="does not take images of 1x8x8"):
        planned(model={"name": "conv", "latent": 4})


def test_cuda_where_there_is_none(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SpecError, match="device cuda, but this machine has no GPU"):
        planned(engines={"device": "cuda"})
    assert not (tmp_path / "home").exists()


def test_cores_that_the_process_may_not_use_are_no_devices():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert module.devices("cpu") == ("cpu", 1)
    finally:
        os.sched_setaffinity(0, allowed)
