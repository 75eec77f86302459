"""Write what docs/balancers.md says of each balancer, and draw how beta moves in a real training.

    python docs/pictures/balancers.py DATA

The sections come from the code: docstrings and hyperparameters. The curves are those of 1,500 steps
on Fashion-MNIST, whose files are in the folder DATA.
"""

from __future__ import annotations

import inspect
import operator
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import altair as alt
import pandas as pd
import torch
from PIL import Image

from vae_core.balancers import BALANCERS, FAMILIES, Balancer, Hyperparameter
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, prepare

PAGE = Path(__file__).parents[1] / "balancers.md"
PICTURE = Path(__file__).with_name("balancers_beta.png")
BEGIN = "## Each in turn"
STEPS, EVERY, BATCH = 1_500, 10, 100
MODEL = {"name": "mlp", "latent": 16, "width": 256}
GIVEN = {"beta": 0.01, "k": 1.0, "kappa": 0.11, "target": 30.0, "mmd": 10.0}
"""What the picture takes for settings that have no default."""
CAPTION = """\
How beta = k sigma^2 moves in 1,500 steps of 100 images (Fashion-MNIST, a two-layer MLP, 16
latents, one seed), in grey that of `running_average`; images in thousands. Where a setting has no
default: beta 0.01, a rate of 30 nats, an error of 0.11 per pixel, an MMD weight of 10."""


def sections() -> str:
    """The page from :data:`BEGIN` on."""
    parts = [BEGIN, "", "Written by `python docs/pictures/balancers.py DATA`, from the code.", ""]
    parts += [f"![beta over training, by balancer](pictures/{PICTURE.name})", "", CAPTION, ""]
    for name in FAMILIES:
        parts += [*section(name, BALANCERS.get(name)), ""]
    return "\n".join(parts)


def section(name: str, family: type[Balancer]) -> Iterator[str]:
    """What one balancer does, and its settings."""
    yield f"### `{name}`"
    yield ""
    text = inspect.cleandoc(family.__doc__ or "").replace("``", "`")
    yield re.sub(r":(\w+):`~?([\w.]+)`", _named, text)
    yield ""
    kind = "hand-tuned" if family.hand_tuned else "sets the balance itself"
    yield f"{kind[0].upper()}{kind[1:]}. Likelihood: {family.likelihood.replace('_', ' ')}."
    yield ""
    for key, setting in family.hyperparameters.items():
        yield f"- `{key}`, {_default(setting)}: {setting.doc}"


def _named(reference: re.Match[str]) -> str:
    """A docstring's reference as a name; of a function or class the last part is enough."""
    role, path = reference.groups()
    return f"`{path if role == 'mod' else path.rpartition('.')[2]}`"


def _default(setting: Hyperparameter) -> str:
    if setting.required:
        return "to be given"
    return "derived" if setting.default is None else f"{setting.default:.4g}"


def curves(data_root: Path, store: Path) -> pd.DataFrame:
    """``balancer``, ``images`` (thousands) and ``beta`` of a training of each."""
    prepared = prepare({"name": "fashion_mnist"}, store, data_root)
    dataset = Dataset.open(prepared, 10_000, verify=False)
    images = TrainingImages(dataset.train, torch.device("cpu"))
    found = []
    kind = operator.attrgetter("head", "gated")
    for head, gated in dict.fromkeys(kind(BALANCERS.get(name)) for name in FAMILIES):
        names = [name for name in FAMILIES if kind(BALANCERS.get(name)) == (head, gated)]
        bank = Bank(
            MODEL,
            images,
            dataset.shape,
            width=len(names),
            batch_size=BATCH,
            head=head,
            gated=gated,
        )
        rows = {bank.admit(_member(name)): name for name in names}
        for step in range(EVERY, STEPS + 1, EVERY):
            bank.train(EVERY)
            for row, name in rows.items():
                at = bank.segment(row)
                found.append((name, step * BATCH / 1000, at.k * at.sigma2))
            print(f"\r{len(names)} balancers: {step} of {STEPS}", end="", file=sys.stderr)
    return pd.DataFrame(found, columns=["balancer", "images", "beta"])


def _member(name: str) -> Member:
    family = BALANCERS.get(name)
    settings = family.hyperparameters.items()
    hyper = {key: GIVEN[key] for key, setting in settings if setting.required}
    return Member(0, lr=1e-3, balancer=name, hyper=hyper, steps=STEPS)


def draw(found: pd.DataFrame) -> None:
    """Small multiples, one a balancer."""
    beside = found[found.balancer == "running_average"].drop(columns="balancer")
    panels = []
    for name in FAMILIES:
        axes = {
            "x": alt.X("images:Q", title=None, axis=alt.Axis(tickCount=3, grid=False)),
            "y": alt.Y(
                "beta:Q",
                title=None,
                scale=alt.Scale(type="log", domain=[1e-4, 10], clamp=True),
                axis=alt.Axis(tickCount=5, format="~g", grid=False),
            ),
        }
        line = alt.Chart(found[found.balancer == name]).mark_line(strokeWidth=2).encode(**axes)
        grey = alt.Chart(beside).mark_line(strokeWidth=1, color="#bbb").encode(**axes)
        panels.append((grey + line).properties(width=120, height=90, title=name))
    chart = alt.concat(*panels, columns=5, spacing=8)
    chart.configure_title(fontSize=11).save(PICTURE, scale_factor=1.5)
    Image.open(PICTURE).convert("RGB").quantize(32).save(PICTURE, optimize=True)


def main(data_root: Path) -> None:
    """Write the page's end, and draw the picture."""
    torch.set_num_threads(1)
    before = re.split(f"^{BEGIN}$", PAGE.read_text(), flags=re.MULTILINE)[0].rstrip()
    PAGE.write_text(f"{before}\n\n{sections()}")
    with TemporaryDirectory() as store:
        draw(curves(data_root, Path(store)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
