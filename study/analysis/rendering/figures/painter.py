"""Draws charts as pictures; a script of its own, that needs vl-convert and nothing else.

python -P painter.py bundle                      Vega and vega-embed as one script, to stdout
python -P painter.py pictures < [[file, spec, inline], ...]
                                                 each spec as a PNG file, each inline spec as an SVG
                                                 to stdout: [file, SVG, why not] a line
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import vl_convert


def main() -> None:
    """Do what the first argument asks for."""
    if sys.argv[1] == "bundle":
        sys.stdout.write(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        return
    for file, spec, inline in json.load(sys.stdin):
        print(json.dumps([file, *draw(file, spec, inline)]), flush=True)


def draw(file: str, spec: dict[str, Any], inline: dict[str, Any]) -> tuple[str, str]:
    """Draw ``spec`` into ``file``, and ``inline`` as SVG; why it could not be drawn, or ""."""
    try:
        content = vl_convert.vegalite_to_png(spec, scale=1.5)
        with open(file, "wb") as picture:
            picture.write(content)
        return slim(vl_convert.vegalite_to_svg(inline), f"{Path(file).stem}-"), ""
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"


def slim(svg: str, prefix: str) -> str:
    """``svg`` for a page: without what says nothing there, its ids begin with ``prefix``."""
    svg = re.sub(r'<path class="(?:background|foreground)"[^>]*/>', "", svg)
    svg = re.sub(r' (?:aria-[a-z]+|role|pointer-events|version|xmlns:xlink)="[^"]*"', "", svg)
    svg = re.sub(r' (?:opacity|stroke-opacity|fill-opacity)="1"', "", svg)
    return re.sub(r'(?<= id=")|(?<=url\(#)', prefix, svg)


if __name__ == "__main__":
    main()
