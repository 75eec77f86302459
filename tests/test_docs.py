"""What the documents show and name: run, loaded, or found."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from pathlib import Path

import click
import pytest

from study import metrics
from study.cli import main
from study.spec import (
    LIBRARIES,
    NO_EQUIVALENT,
    PRUNERS,
    SAMPLERS,
    Convention,
    Geometry,
    arm_roles,
    load_spec,
    warnings,
)
from vae_core.balancers import BALANCERS
from vae_core.data import SOURCES
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, check_model
from vae_core.rehearsal import rehearse

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)


def read(document: Path | str) -> str:
    return (ROOT / document).read_text()


def blocks(document: Path | str, *languages: str) -> list[str]:
    """The blocks of these languages ("": none is named); by default all."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", read(document), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if not languages or language in languages]


def spans(document: Path | str) -> set[str]:
    """What a document has in backticks, outside of blocks."""
    text = re.sub(r"```.*?```", "", read(document), flags=re.DOTALL)
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks that begin with a file's name, each as that file."""
    for document in ("docs/studies.md", "docs/changing.md"):
        for block in blocks(document, "python"):
            named = re.match(r"# (\w+)\.py\b", block)
            if named:
                (tmp_path / f"{named[1]}.py").write_text(block)
                sys.modules.pop(named[1], None)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("modules")
def test_the_guides_own_model_and_balancers_keep_their_contracts() -> None:
    shape = ImageShape(1, 8, 8)
    check_model(MODELS.get("my_vae:Linear"), shape, 3)
    rehearse({"name": "my_vae:Linear", "latent": 3}, shape)
    for path, name in (("my_balancer:HalfMse", "half_mse"), ("target_mse:TargetMse", "target_mse")):
        assert BALANCERS.get(path).name == name  # the registry checks it


def test_the_guides_metric_is_a_row_of_the_table() -> None:
    (row,) = (text for text in blocks("docs/changing.md", "") if text.startswith("Metric("))
    (found,) = eval(f"({row})", vars(metrics))
    assert found.name == "rmse"


def test_the_readmes_study_is_a_study(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "yaml")
    (tmp_path / "mine.yaml").write_text(text)
    spec = load_spec(tmp_path / "mine.yaml", ["training.epochs=3"])
    assert spec.name == "mine"
    assert warnings(spec, arm_roles(spec)) == []


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(document)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert (ROOT / linked).exists(), f"{document} links to {target}, which is not there"
        headings = re.findall(r"^#+ (.*)$", read(linked), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"{document} links to {target}: no such heading"


def to_write(document: Path) -> set[str]:
    """The files that a document tells its reader to write."""
    return set(re.findall(r"Write `([\w./]+)`", read(document)))


@every_document
def test_every_file_named_is_there(document: Path) -> None:
    folders = "study|vae_core|tests|docs|search_spaces|benchmarks"
    new = to_write(document)
    for named in re.findall(rf"(?<![\w/.~-])(?:{folders})/[\w./-]*", read(document)):
        path = named.rstrip(".")
        assert path in new or (ROOT / path).exists(), f"{document} names {path}: not there"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, _, attribute = name.rpartition(".")
    try:
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:  # what is before the last dot is no module
        return False
    return hasattr(importlib.import_module(module), attribute)


@every_document
def test_every_module_named_is_there(document: Path) -> None:
    code = "".join(path.read_text() for path in (ROOT / "study").rglob("*.py"))
    dotted = r"(?<![\w/.])(?:study|vae_core|benchmarks)(?:\.\w+)+"
    for name in set(re.findall(dotted, read(document))):
        tag = f'"{name}"' in code  # of an MLflow run
        new = f"{name.replace('.', '/')}.py" in to_write(document)
        assert tag or new or resolves(name), f"{document} names {name}: not there"


def test_the_tree_lists_every_package() -> None:
    listed = {
        line.split()[0]
        for block in blocks("docs/architecture.md", "")
        for line in block.splitlines()
        if re.match(r"(study|vae_core)/", line)
    }
    packages = {
        f"{path.parent.relative_to(ROOT)}/"
        for name in ("study", "vae_core")
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert not (missing := packages - listed), f"add to docs/architecture.md: {sorted(missing)}"
    assert not (gone := listed - packages), f"remove from docs/architecture.md: {sorted(gone)}"


def commands(document: Path) -> Iterator[str]:
    """Command lines, of the blocks and in backticks, without comments."""
    lines = [line for block in blocks(document) for line in block.splitlines()]
    lines += [line for line in read(document).splitlines() if line.startswith("    ")]
    for text in [*lines, *spans(document)]:
        yield text.partition(" #")[0].strip()


@every_document
def test_every_verb_and_option_shown_is_there(document: Path) -> None:
    for text in commands(document):
        found = re.search(r"(?:^|&& )(?:\.venv/bin/)?study ([a-z]+\b.*)", text)
        if found is None:
            continue
        command: click.Command = main
        words = found[1].split()
        while isinstance(command, click.Group) and words:
            name = words.pop(0)
            assert name in command.commands, f"{document}: {text}: no verb '{name}'"
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        given = set(re.findall(r"(?<=\s)--[a-z-]+", f" {' '.join(words)}"))
        assert given <= known, f"{document}: {text}: no option {given - known}"


@every_document
def test_every_make_target_shown_is_there(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for text in commands(document):
        found = re.match(r"make ([a-z][a-z-]*)$", text)
        assert found is None or found[1] in targets, f"{document}: no target '{text}'"


def test_every_verb_is_shown() -> None:
    shown = "\n".join(text for document in DOCUMENTS for text in commands(document))
    missing = [name for name in main.commands if f"study {name}" not in shown]
    assert not missing, f"show in README.md: {missing}"


def test_every_metric_is_explained() -> None:
    text = read("docs/metrics.md")

    def explained(metric: metrics.Metric) -> bool:
        head, _, tail = metric.name.partition("_")
        if metric.network:  # explained by distance and by what is compared
            named = f"`{head}`" in text or f"`{head}_" in text
            return named and f"`{metric.name.rpartition('_')[2]}`" in text
        return f"`{metric.name}`" in text or (f"`{head}_" in text and f"`_{tail}`" in text)

    missing = [metric.name for metric in metrics.METRICS.values() if not explained(metric)]
    assert not missing, f"add a row to docs/metrics.md: {missing}"


def test_the_study_file_names_every_dataset_model_sampler_and_pruner() -> None:
    known = {*SOURCES.names(), *MODELS.names(), *SAMPLERS, *PRUNERS}
    missing = known - spans("docs/studies.md")
    assert not missing, f"name in docs/studies.md: {sorted(missing)}"


def test_the_table_of_balancers_is_true() -> None:
    rows = re.findall(
        r"^\| (`.*)$", read("docs/studies.md").partition("**Balancers**")[2], re.MULTILINE
    )
    for row in rows:
        names, *_, hyperparameters, trade_off, _ = (
            re.findall(r"`(\w+)`", cell) for cell in row.split(" |")
        )
        for name in names:
            declared = BALANCERS.get(name).hyperparameters
            assert {*hyperparameters} == declared.keys(), f"docs/studies.md: {name}"
            found = [key for key, value in declared.items() if value.trade_off]
            assert trade_off == found, f"docs/studies.md: what sets the trade-off of {name}"


def test_the_table_of_conventions_is_what_is_computed() -> None:
    text = read("docs/conventions.md")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \| ([^|]+) \| (\S+) \|$", text, re.MULTILINE)
    assert [name for name, *_ in rows] == [*LIBRARIES]
    for name, weight, place, beta in rows:
        library = LIBRARIES[name]
        numerator, _, denominator = weight.partition("/")
        assert float(numerator) / float(denominator or 1) == library.weight, name
        at = library.at
        if shape := re.match(r"(\d+)x(\d+)x(\d+)", place):
            assert at.dims == prod(map(int, shape.groups())), name
        for letter, value in re.findall(r"([LB]) = (\d+)", place):
            assert {"L": at.latent, "B": at.batch}[letter] == int(value), name
        if place == "any":
            assert library.convention.half_sum_beta(library.weight, Geometry(7, 5, 3)) == (
                library.beta
            ), name
        digits = len(beta.partition("e")[0].replace(".", "").lstrip("0"))
        assert float(f"{library.beta:.{digits - 1}e}") == float(beta), name


def test_what_a_convention_consists_of_is_explained() -> None:
    missing = {*Convention.model_fields, *NO_EQUIVALENT} - {"name"} - spans("docs/conventions.md")
    # other names of the losses that are explained
    assert missing <= {"binary_cross_entropy", "laplace", "perceptual"}


def test_troubleshooting_quotes_messages_that_the_code_has() -> None:
    said = {
        "".join(
            str(part.value) if isinstance(part, ast.Constant) else "\0"
            for part in (node.values if isinstance(node, ast.JoinedStr) else [node])
        )
        for package in ("study", "vae_core")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    quoted = re.findall(r"^\| `([^`]+)` \|", read("docs/troubleshooting.md"), re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        of_values = ".*?".join(map(re.escape, message.split("...")))
        pattern = re.compile(of_values, re.DOTALL)
        assert any(map(pattern.search, said)), f"docs/troubleshooting.md: no '{message}' is said"


def test_the_cluster_is_run_by_the_same_commands_in_its_file_and_in_the_readme() -> None:
    (shown,) = (block for block in blocks("README.md", "") if "ray up" in block)
    told = [line.lstrip("# ") for line in read("cluster.yaml").splitlines() if line[:3] == "#  "]
    assert [line for line in told if line.startswith("ray ")] == shown.splitlines()
