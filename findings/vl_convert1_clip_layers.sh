#!/usr/bin/env bash
# vl-convert 1.9.0.post1: what `"clip": true` of a mark costs a picture.
#
# Expected: clipping to the plot is an intersection with one rectangle, and costs next to nothing; all
# the more where nothing lies outside.
# Seen: Vega writes a clip path of its own for every series of a line chart, and the rasteriser paints
# each clipped group on a layer of its own, as large as the picture. Of 30 series the PNG takes several
# times as long with `clip` as without; the SVG takes as long as without. Most of the time is back where
# the SVG's clip paths, all of the one rectangle, are replaced by one of the group around the series
# before `svg_to_png`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  vl-convert-python==1.9.0.post1 2>/dev/null
cat > "$work/clip.py" <<'PY'
import re
import time
from importlib.metadata import version

import vl_convert as vl


def chart(clip):
    rows = [{"x": x, "y": (x * series) % 17, "s": f"s{series}"} for series in range(30) for x in range(20)]
    quantity = {"type": "quantitative"}
    return {
        "width": 720, "height": 320, "data": {"values": rows}, "mark": {"type": "line", "clip": clip},
        "encoding": {"x": {"field": "x", **quantity}, "y": {"field": "y", **quantity},
                     "color": {"field": "s", "type": "nominal", "legend": None}},
    }


def seconds(work):
    best = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        best.append(time.perf_counter() - start)
    return min(best)


vl.vegalite_to_svg(chart(True))  # loads Vega
svg = {clip: vl.vegalite_to_svg(chart(clip)) for clip in (True, False)}
paths = svg[True].count("<clipPath")
shapes = set(re.findall(r"<clipPath[^>]*>(.*?)</clipPath>", svg[True]))
once = re.sub(r' clip-path="url\(#(\w+)\)"', "", svg[True])
first = re.search(r' clip-path="url\(#\w+\)"', svg[True])[0]
once = once.replace('<g class="mark-group role-scope pathgroup"', '<g class="mark-group role-scope pathgroup"' + first)
found = {
    "SVG, no clip": seconds(lambda: vl.vegalite_to_svg(chart(False))),
    "SVG, clip": seconds(lambda: vl.vegalite_to_svg(chart(True))),
    "PNG of it, no clip": seconds(lambda: vl.svg_to_png(svg[False])),
    "PNG of it, clip": seconds(lambda: vl.svg_to_png(svg[True])),
    "PNG, clipped once": seconds(lambda: vl.svg_to_png(once)),
}
print("vl-convert", version("vl-convert-python"), f"{paths} clip paths of {len(shapes)} shape(s)")
for name, took in found.items():
    print(f"{name:20} {took * 1000:8.1f} ms")
assert once.count("clip-path=") == 1
assert (paths, len(shapes)) == (30, 1)
assert found["PNG of it, clip"] > 2 * found["PNG of it, no clip"]
assert found["PNG of it, clip"] > 2 * found["PNG, clipped once"]
assert found["SVG, clip"] < 2 * found["SVG, no clip"]
PY
"$work/venv/bin/python" "$work/clip.py"
