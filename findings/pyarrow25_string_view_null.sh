#!/usr/bin/env bash
# PyArrow 25.0.1: unique() and value_counts() of string_view turn null into an empty string.
#
# Expected: null stays null, as with string and large_string. Seen: for string_view both kernels
# return "" in its place, so a list of labels gains a class and loses its missing ones, without an
# error.
# dictionary_encode() and to_pylist() keep the null.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pyarrow==25.0.1 2>/dev/null
"$work/venv/bin/python" - <<'PY'
import pyarrow as pa

values = ["dog", "bird", "dog", None]
for kind in (pa.string(), pa.large_string(), pa.string_view()):
    array = pa.array(values, kind)
    unique = array.unique().to_pylist()
    counted = [row["values"] for row in array.value_counts().to_pylist()]
    encoded = array.dictionary_encode().to_pylist()
    print(f"PyArrow {pa.__version__}, {kind}: unique {unique}, value_counts {counted}")
    assert encoded == array.to_pylist() == values
    last = "" if kind == pa.string_view() else None
    assert unique == counted == ["dog", "bird", last]
PY
