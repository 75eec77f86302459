#!/usr/bin/env bash
# pyarrow 25.0.1: tensors of a fixed shape whose dimensions are stored in another order.
#
# Expected: of a type with `shape` [3, 8, 8] (as it is stored) and `permutation` [1, 2, 0] (as it is
# read, by the Arrow format), `to_numpy` of a cell is the stored numbers reshaped to `shape` and
# transposed by `permutation`: an image with its channels last.
# Seen: it has the right shape and wrong strides, so the numbers come from wrong places, and no error
# is raised; the whole array's `to_numpy_ndarray` gives others, as wrong. Permutation [2, 0, 1] raises
# "strides must not involve buffer over run". Of a matrix the array is right and its cells are not.
# Without a permutation all is well. The stored values, reshaped and transposed, are what is meant.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pyarrow==25.0.1 numpy==2.4.6 2>/dev/null
cat > "$work/one.py" <<'PY'
import numpy as np
import pyarrow as pa

print("pyarrow", pa.__version__)


def seen(read, wanted):
    try:
        found = read()
    except pa.ArrowInvalid as error:
        return str(error)
    assert found.shape == wanted.shape
    return "right" if (found == wanted).all() else "other numbers"


def look(shape, permutation, cell, whole):
    size = int(np.prod(shape))
    numbers = np.arange(2 * size, dtype=np.uint8).reshape(2, *shape)
    kind = pa.fixed_shape_tensor(pa.uint8(), shape, permutation=permutation)
    stored = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), size)
    tensors = pa.ExtensionArray.from_storage(kind, stored)
    wanted = numbers[1] if permutation is None else numbers[1].transpose(permutation)
    found = (
        seen(lambda: tensors[1].to_numpy(), wanted),
        seen(lambda: tensors.to_numpy_ndarray()[1], wanted),
    )
    print(shape, permutation, "cell:", found[0], "| whole array:", found[1])
    assert found == (cell, whole)
    values = tensors[1].value.values.to_numpy().reshape(shape)
    assert ((values if permutation is None else values.transpose(permutation)) == wanted).all()


OVER = "strides must not involve buffer over run"
look((3, 8, 8), None, "right", "right")
look((3, 8, 8), [1, 2, 0], "other numbers", "other numbers")
look((5, 3, 4), [2, 0, 1], OVER, OVER)
look((4, 6), [1, 0], "other numbers", "right")
PY
"$work/venv/bin/python" "$work/one.py"
