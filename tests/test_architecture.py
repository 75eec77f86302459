"""The plan of the code, checked on its imports: layers, circles, light processes, sizes.

Every import counts, at module level, inside functions and under ``TYPE_CHECKING``. To move an arrow
of the plan, change the table below and ``docs/architecture.md``, and say why in
``docs/decisions.md``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = (
    ("the package itself", "__main__"),
    ("cli",),
    ("api",),
    ("launching", "verifying", "managing", "replaying", "exporting"),
    ("diagnosing",),
    ("scheduling", "tracking"),
    ("engine", "search", "analysis"),
    ("spec",),
    ("journal",),
    ("image_scores",),
    ("metrics",),
    ("formatting", "glossary", "package", "statistics", "vae_core"),
)
"""Parts of ``study``, and ``vae_core``. A part imports from the layers below its own."""

SIDE_ARROWS = {
    ("launching", "managing"): "a launch ends with the report that `study report` writes",
    ("launching", "exporting"): "a launch packs each arm's best model for MLflow",
}
"""The only imports within a layer, and why."""

ANALYSIS_LAYERS = (
    ("the package itself",),
    ("rendering",),
    ("answers",),
    ("records",),
)

ABSENT = {
    "study.analysis": ("ray", "torch", "torchvision"),
    "study.scheduling": ("torch", "torchvision"),
    "study.diagnosing": ("torch", "torchvision"),
    "vae_core": ("ray", "optuna", "mlflow", "study"),
}
"""Packages, and what importing any module of them must not load."""

FILE_LINES, FUNCTION_LINES = 450, 60
ONE_THING = "# One thing:"
"""Begins the comment, above or below the docstring, that says why something is longer."""


class Import(NamedTuple):
    """An import statement's arrow from one module to another."""

    source: str
    line: int
    target: str
    """A module of ours, or the top-level name of a library."""
    runs: str
    """``module``: with the module. ``function``: when called. ``types``: never."""

    def __str__(self) -> str:
        return f"{where(self.source)}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    files = [path for package in ("study", "vae_core") for path in (ROOT / package).rglob("*.py")]
    dotted = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    return {name.removesuffix(".__init__"): path for name, path in sorted(dotted.items())}


def where(module: str) -> str:
    return str(modules()[module].relative_to(ROOT))


def statements(node: ast.AST, runs: str = "module") -> Iterator[tuple[ast.stmt, str]]:
    """The import statements below ``node``, and when each runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, runs
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, runs if runs == "types" else "function")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from statements(child, "types")
        else:
            yield from statements(child, runs)


def targets(statement: ast.stmt) -> Iterator[str]:
    """What an import statement names: modules of ours, or libraries."""
    if isinstance(statement, ast.Import):
        named = [alias.name for alias in statement.names]
    else:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.level == 0, "write the import with the whole name of the module"
        of = f"{statement.module}"
        named = [f"{of}.{a.name}" if f"{of}.{a.name}" in modules() else of for a in statement.names]
    for name in dict.fromkeys(named):
        yield name if name in modules() else name.partition(".")[0]


@cache
def imports() -> tuple[Import, ...]:
    return tuple(
        Import(module, statement.lineno, target, runs)
        for module, path in modules().items()
        for statement, runs in statements(ast.parse(path.read_text()))
        for target in targets(statement)
    )


def part(module: str, of: str) -> str | None:
    """The part of package ``of`` that ``module`` is in; None: it is not in ``of``."""
    if module == of:
        return "the package itself"
    return module.removeprefix(f"{of}.").split(".")[0] if module.startswith(f"{of}.") else None


def layer_faults(of: str, layers: Iterable[tuple[str, ...]]) -> list[str]:
    """Imports within package ``of`` that do not lead to a lower layer."""
    level = {name: i for i, layer in enumerate(layers) for name in layer}
    found = []
    for arrow in imports():
        source, target = part(arrow.source, of), part(arrow.target, of)
        if arrow.target.partition(".")[0] == "vae_core" and of == "study":
            target = "vae_core"
        if source is None or target is None or source == target:
            continue
        unknown = {source, target} - level.keys()
        if unknown:
            found.append(f"{arrow}: add {min(unknown)} to the layers in {Path(__file__).name}")
        elif level[source] >= level[target] and (source, target) not in SIDE_ARROWS:
            found.append(
                f"{arrow}: {source} may not import {target}; move what both need into a layer "
                "below both, or pass it in as an argument"
            )
    return found


def report(found: Iterable[str]) -> str:
    return "\n".join(["", *found])


def test_the_walk_sees_imports_of_every_kind() -> None:
    assert {arrow.runs for arrow in imports()} == {"module", "function", "types"}
    assert Import("study.__main__", 3, "study.cli", "module") in imports()


def test_every_import_leads_to_a_lower_layer() -> None:
    found = layer_faults("study", LAYERS)
    assert not found, report(found)


def test_analysis_has_four_layers() -> None:
    found = layer_faults("study.analysis", ANALYSIS_LAYERS)
    assert not found, report(found)


def test_the_core_imports_nothing_of_the_study() -> None:
    core = [arrow for arrow in imports() if arrow.source.startswith("vae_core")]
    found = [arrow for arrow in core if arrow.target.startswith("study")]
    assert not found, report(f"{arrow}: vae_core must work without study" for arrow in found)


def test_every_side_arrow_is_used() -> None:
    used = {(part(arrow.source, "study"), part(arrow.target, "study")) for arrow in imports()}
    unused = SIDE_ARROWS.keys() - used
    assert not unused, f"remove {unused} from SIDE_ARROWS: nothing imports so"


def test_no_circle_of_files() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for arrow in imports():
        if arrow.target in graph:
            graph[arrow.source].add(arrow.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        first = {(arrow.source, arrow.target): arrow for arrow in reversed(imports())}
        arrows = [first[pair] for pair in pairwise(circle)]
        remedy = "a circle of files: move what they share into a file that imports neither"
        pytest.fail(report([*map(str, arrows), remedy]))


def chain_to(libraries: Iterable[str], package: str) -> list[str]:
    """For each library that importing a module of ``package`` may load, the imports that do."""
    roots = [name for name in modules() if name == package or name.startswith(f"{package}.")]
    runs: dict[str, list[Import]] = {name: [] for name in modules()}
    for arrow in imports():
        # What the package imports only when called it still may not reach.
        if arrow.runs == "module" or (arrow.runs == "function" and arrow.source in roots):
            runs[arrow.source].append(arrow)
    chains: dict[str, list[str]] = {name: [] for name in roots}
    waiting = list(roots)
    found = []
    while waiting:
        module = waiting.pop(0)
        for arrow in runs[module]:
            chain = [*chains[module], str(arrow)]
            if arrow.target in libraries:
                found.append(" -> ".join(chain))
            # Importing a.b.c runs a and a.b as well.
            parts = arrow.target.split(".")
            for name in (".".join(parts[: i + 1]) for i in range(len(parts))):
                if name in modules() and name not in chains:
                    chains[name] = chain
                    waiting.append(name)
    return found


@pytest.mark.parametrize("package", ABSENT)
def test_no_chain_of_imports_reaches_what_a_package_must_not_load(package: str) -> None:
    found = chain_to(ABSENT[package], package)
    remedy = f"{package} must not load {', '.join(ABSENT[package])}: import it inside the function"
    assert not found, report([*found, f"{remedy} that needs it, in a part that may"])


IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

package, *absent = sys.argv[1:]

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
found = importlib.import_module(package)
for module in pkgutil.walk_packages(found.__path__, package + "."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize("package", [name for name in ABSENT if name != "vae_core"])
def test_a_package_imports_where_what_it_must_not_load_is_absent(package: str) -> None:
    # The core's own is tests/vae_core/test_imports.py.
    command = [sys.executable, "-c", IMPORT_ALL, package, *ABSENT[package]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def head(lines: list[str], body: list[ast.stmt], first: int) -> list[str]:
    """The lines above a file's or function's first statement: comments, signature, docstring.

    Args:
        lines: of the file.
        body: the statements of the file or function.
        first: the line, from 1, where it begins, decorators included.
    """
    while first > 1 and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    docstring = (
        isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )
    rest = body[1:] if docstring else body
    return lines[first - 1 : rest[0].lineno - 1 if rest else len(lines)]


def excused(lines: list[str]) -> bool:
    return any(line.strip().startswith(ONE_THING) for line in lines)


def length_faults(module: str) -> Iterator[str]:
    lines = modules()[module].read_text().splitlines()
    tree = ast.parse("\n".join(lines))
    remedy = f"split it, or say at its head why it is one thing: '{ONE_THING} ...'"
    if len(lines) > FILE_LINES and not excused(head(lines, tree.body, 1)):
        yield f"{where(module)}:1 has {len(lines)} lines, {FILE_LINES} at most: {remedy}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        if count > FUNCTION_LINES and not excused(head(lines, node.body, first)):
            name = f"{where(module)}:{node.lineno} {node.name}"
            yield f"{name} has {count} lines, {FUNCTION_LINES} at most: {remedy}"


def test_files_and_functions_are_short_or_say_why_not() -> None:
    found = [fault for module in modules() for fault in length_faults(module)]
    assert not found, report(found)
