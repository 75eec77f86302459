#!/usr/bin/env bash
# rich 15.0.0: printing to a pipe that nobody reads any more raises SystemExit, not BrokenPipeError.
#
# Expected: `Console.print` raises the OSError that the stream raised, as `print` does, so that
# `except OSError` or `except Exception` around a line of progress keeps a long run alive.
# Seen: it raises SystemExit(1), which neither catches: a run whose output was piped into `head` or `tee`
# ends at the next line that is printed, or one thread of it does, silently. Before that it points the
# descriptor of *standard output* at /dev/null, whatever the console writes to: with a console on standard
# error, standard output is lost as well though its reader is there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check rich==15.0.0
cat > "$work/run.py" <<'PY'
import os
import sys

from rich.console import Console

reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 2)  # whoever read standard error has gone
before = os.fstat(1)
try:
    print("progress", file=sys.stderr, flush=True)
except OSError as error:
    plain = type(error).__name__
try:
    Console(file=sys.stderr).print("progress")
    found = "nothing"
except Exception as error:
    found = type(error).__name__
except SystemExit as error:
    found = f"SystemExit({error.code})"
kept = os.path.samestat(before, os.fstat(1))
with open(sys.argv[1], "w") as file:
    print(f"print raises {plain}, Console.print {found}; standard output kept: {kept}", file=file)
os._exit(0)
PY
"$work/venv/bin/python" "$work/run.py" "$work/said" | cat
echo "rich 15.0.0: $(cat "$work/said")"
grep -q 'print raises BrokenPipeError, Console.print SystemExit(1); standard output kept: False' "$work/said"
