"""`study status`, `list`, `watch`, what a shell completes, and how the help is grouped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from commands import on_terminal, study

from study import api
from study.cli import main

CURSOR_UP = b"\x1b[1A"
HEAVY = {"torch", "ray", "mlflow", "pandas", "scipy"}


def completed(words: list[str], incomplete: str) -> list[str]:
    found = ShellComplete(main, {}, "study", "_STUDY_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def test_list_names_each_study_with_state_and_verdict(told):
    api.report("told", home=told.studies)
    (line,) = study("list", "--home", told.studies).stdout.splitlines()
    name, state, *_ = line.split()
    saved = json.loads(told.first_screen.read_text())
    assert (name, state) == ("told", "finished")
    assert line.endswith(saved["outcome"])
    assert api.studies(home=told.studies)[0].verdict == saved["outcome"]


def test_an_empty_home_has_no_studies(tmp_path):
    assert study("list", "--home", tmp_path).stdout == f"no studies in {tmp_path}\n"


def test_watch_shows_a_study_until_it_no_longer_runs(conducting):
    conductor, home = conducting(4)
    running = subprocess.Popen(
        [sys.executable, "-m", "study", "watch", "told", "--home", str(home.studies)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith("told: running; 2 of 7 trials done")
    conductor.journal.close()
    rest, _ = running.communicate(timeout=60)
    assert "told: not running" in rest
    assert rest.rstrip().endswith("`study resume told --home " + f"{home.studies}`")


def test_watch_renews_what_a_terminal_shows_in_its_place(conducting):
    conductor, home = conducting(4)
    with on_terminal("watch", "told", "--home", home.studies) as (process, screen):
        shown = next(screen)
        while b"2 of 7 trials done" not in shown:
            shown += next(screen)
        conductor.journal.close()
        shown += b"".join(screen)
        assert process.wait() == 0
    *_, last = shown.partition(b"2 of 7 trials done")
    assert CURSOR_UP in last, "a second look is drawn over the first"
    assert b"told: not running; 2 of 7 trials done" in last


@pytest.mark.parametrize("verb", [["status", "told"], ["list"]])
def test_asking_where_studies_are_loads_nothing_heavy(told, verb):
    code = (
        "import sys\nfrom study.cli import main\n"
        f"main({[*verb, '--home', str(told.studies)]!r}, standalone_mode=False)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_shell_completes_studies_arms_and_trials(told, monkeypatch):
    monkeypatch.setenv("STUDY_HOME", str(told.studies))
    assert completed(["status"], "to") == ["told"]
    assert completed(["status"], "x") == []
    assert completed(["export", "told"], "") == ["optimal", "random"]
    assert completed(["stop", "told", "--arm"], "r") == ["random"]
    assert "random.search.r0.0001" in completed(["show", "told"], "random.search")
    assert completed(["show", "nothing"], "") == []


def test_bash_completes(told):
    """By the script that the command prints, sourced in a real shell."""
    script = (
        'eval "$(_STUDY_COMPLETE=bash_source study)"\n'
        "COMP_WORDS=(study export told o); COMP_CWORD=3; _study_completion study o told\n"
        'echo "${COMPREPLY[*]}"'
    )
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "STUDY_HOME": str(told.studies), "PATH": beside}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "optimal\n", done.stderr


def test_help_lists_every_verb_once_in_its_section():
    text = study("--help").stdout
    sections = text.split("Run a study:")[1]
    assert [sections.count(f"\n  {name} ") for name in main.commands] == [1] * len(main.commands)
    order = [text.index(f"{title}:") for title in ("Run a study", "Look at studies", "Data")]
    assert order == sorted(order)
