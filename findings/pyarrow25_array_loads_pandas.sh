#!/usr/bin/env bash
# pyarrow 25.0.1 beside pandas 3.1.1: what `pa.array` does with a NumPy array.
#
# Expected: numbers of a list or of a NumPy array are copied or wrapped, and that is all; pandas is
# loaded by `to_pandas`, and for what pandas made.
# Seen: the first `pa.array` of a process, even of a list of three whole numbers, imports pandas where
# it is installed, to see whether it was given something of pandas. It takes as long as `import
# pandas`; so does the first `to_numpy` of an array. `pa.Array.from_buffers` over the same memory, and
# `np.frombuffer` of an array's buffer, do not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pyarrow==25.0.1 pandas==3.1.1 numpy==2.4.6 2>/dev/null
cat > "$work/one.py" <<'PY'
import sys
from time import perf_counter

import numpy as np
import pyarrow as pa

numbers = np.arange(5, dtype=np.int64)
whole = pa.Array.from_buffers(pa.int64(), 5, [None, pa.py_buffer(numbers)])
ways = {
    "pa.array(list)": lambda: pa.array([1, 2, 3]),
    "pa.Array.from_buffers": lambda: pa.Array.from_buffers(pa.int64(), 5, [None, pa.py_buffer(numbers)]),
    "np.frombuffer(buffer)": lambda: np.frombuffer(whole.buffers()[1], np.int64),
    "pa.array(ndarray)": lambda: pa.array(numbers),
    "to_numpy": lambda: whole.to_numpy(zero_copy_only=True),
}
assert "pandas" not in sys.modules
start = perf_counter()
ways[sys.argv[1]]()
took, loaded = perf_counter() - start, "pandas" in sys.modules
print(f"{sys.argv[1]:24} {'loads pandas' if loaded else 'alone':14} {took * 1000:8.2f} ms")
assert loaded is ("pa.array(" in sys.argv[1] or sys.argv[1] == "to_numpy")
PY
"$work/venv/bin/python" -c 'import pandas, pyarrow; print("pyarrow", pyarrow.__version__, "pandas", pandas.__version__)'
for way in "pa.array(list)" "pa.array(ndarray)" "to_numpy" "pa.Array.from_buffers" "np.frombuffer(buffer)"; do
  "$work/venv/bin/python" "$work/one.py" "$way"
done
