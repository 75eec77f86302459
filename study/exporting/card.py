"""The model card: the README of an exported model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from study.analysis.answers.costs import Amount, CostToOneModel
from study.metrics import METRICS
from vae_core.export import Plan

Record = Mapping[str, Any]


def model_card(
    plan: Plan,
    record: Record,
    *,
    spec: Record,
    features: Mapping[str, Record],
    cost: CostToOneModel,
) -> str:
    """The card, in Markdown.

    Args:
        plan: what the model is built from.
        record: what is recorded of its trial (in ``model.json``).
        spec: the study's.
        features: by name, the networks that distances were measured with.
        cost: of one model of its arm.
    """
    sections = (
        _introduction(plan, record, spec),
        _use(plan),
        _data(plan, record, spec),
        _setting(plan, record),
        _test(record, features),
        _cost(record, cost),
        _numerics(record),
    )
    return "\n".join(line for section in sections for line in section) + "\n"


def usage(folder: str, *, own: bool) -> str:
    """Three lines of Python that use the model in ``folder``."""
    trust = ", trust=True" if own else ""
    return (
        "from vae_core.export import load\n"
        f"model = load({json.dumps(folder)}{trust})\n"
        "x, new = model.reconstruct(images), model.sample(16, seed=0)"
    )


def _introduction(plan: Plan, record: Record, spec: Record) -> Iterator[str]:
    objective = record["objective"]
    yield f"# {record['study']}, {record['arm']}"
    yield ""
    yield (
        f"A variational autoencoder for images of {plan.shape} (channels x height x width), "
        f"trained by the study {record['study']}: of the complete confirm runs of its arm "
        f"{record['arm']} the one of lowest {objective['name']} on validation "
        f"({objective['validation']:.6g}), {record['trial']}, seed {record['seed']}."
    )
    if spec.get("question"):
        yield f"\nThe study's question: {spec['question']}"


def _use(plan: Plan) -> Iterator[str]:
    code = usage("path/to/this/folder", own=plan.own)
    yield from ("", "## Use", "", "```python", code, "```", "")
    yield (
        "It needs the package `vae_core` and torch. `images` are [N, "
        f"{', '.join(map(str, plan.shape.chw))}]: uint8, or floats in [0, 1], where a byte v "
        f"is (v + 1/2)/256. `model.encode(images)` gives posterior means [N, "
        f"{plan.model['latent']}], `model.decode(z)` images."
    )
    if plan.second_stage is not None:
        yield '`model.sample(16, generator="second_stage")` draws from its second stage.'
    if plan.own:
        yield (
            f"\nThe model's code is not in this folder: `{plan.model['name']}` has to be "
            "importable, and `trust=True` permits running it."
        )


def _data(plan: Plan, record: Record, spec: Record) -> Iterator[str]:
    data = record["data"]
    yield from ("", "## Data", "")
    yield f"{data['name']}, images of {plan.shape}, prepared as:"
    yield from ("", "| split | images | SHA-256 of the prepared file |", "|---|---|---|")
    for split, count in data["counts"].items():
        sha256 = data["sha256"].get(split, "not recorded")
        yield f"| {split} | {count:,} | `{sha256}` |"
    yield ""
    if "validation" not in data["counts"]:
        yield f"Held out of train for validation: {spec['data'].get('validation', 'not recorded')}."


def _setting(plan: Plan, record: Record) -> Iterator[str]:
    settings, end = record["settings"], record["at_the_end"]
    yield from ("", "## Setting", "", "```json", json.dumps(settings, indent=2), "```", "")
    yield f"Balancer: {settings['balancer']['name']}. In the last segment of training: " + (
        ", ".join(f"{name} {_number(value)}" for name, value in end.items()) + "."
    )
    if plan.head is not None:
        yield f"The decoder predicts its own noise variance, for each {plan.head}."
    yield (
        "sigma^2 refitted on training images, the Gaussian observation noise that the "
        f"calibrated negative ELBO is computed with: {_number(plan.sigma2)} (x in [0, 1])."
    )


def _test(record: Record, features: Mapping[str, Record]) -> Iterator[str]:
    yield from ("", "## On test", "", "| metric | value | meaning |", "|---|---|---|")
    for name, value in record["test"].items():
        yield f"| {name} | {value:.6g} | {_unit(name)} |"
    for name, network in features.items():
        n, sha256 = (network.get(key, "not recorded") for key in ("n", "sha256"))
        yield f"\nDistances by {name}: of {n} test images, in its features (`{sha256}`)."


def _unit(name: str) -> str:
    """What a metric is, with its unit and direction; "" for a user's own."""
    metric = METRICS.get(name)
    if metric is None:
        return ""
    better = f", {metric.better} is better" if metric.better else ""
    unit = f", {metric.unit}" if metric.unit not in ("", metric.label) else ""
    return f"{metric.label}{unit}{better}"


def _cost(record: Record, arm: CostToOneModel) -> Iterator[str]:
    yield from ("", "## Cost", "", "| | images | device seconds | standard seconds |")
    yield "|---|---|---|---|"
    run = record["cost"]
    amount = Amount(run["images"], run["device_seconds"], run["standard_seconds"])
    yield _amount("this run", amount)
    if arm.search is not None and arm.search.images:
        told = ", and what it began with," if arm.told.images else ""
        yield _amount(f"one search of its arm{told}", arm.search)
    if arm.total is None:
        yield f"| one model of its arm: {arm.why} | | | |"
    else:
        yield _amount("one model of its arm, search and final run", arm.total)
    yield ""
    yield (
        "Standard seconds are images times the timed seconds per image of such a model: they do "
        "not depend on other trials or crashes."
    )


def _numerics(record: Record) -> Iterator[str]:
    yield from ("", "## Made with", "")
    yield from (f"- {name}: {value}" for name, value in record["numerics_key"].items())
    yield f"- code version: {record['code_version']}"


def _amount(name: str, amount: Amount) -> str:
    standard = "" if amount.standard is None else f"{amount.standard:,.1f}"
    return f"| {name} | {amount.images:,.0f} | {amount.billed:,.1f} | {standard} |"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"
