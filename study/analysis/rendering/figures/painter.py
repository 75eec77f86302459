"""Draws charts as pictures; a script of its own, that needs vl-convert and nothing else.

python -P painter.py bundle                      Vega and vega-embed as one script, to stdout
python -P painter.py pictures < [[file, spec], ...]   each Vega-Lite spec as a PNG file
"""

import json
import sys

import vl_convert


def main() -> None:
    """Do what the first argument asks for."""
    if sys.argv[1] == "bundle":
        sys.stdout.write(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        return
    for file, spec in json.load(sys.stdin):
        with open(file, "wb") as picture:
            picture.write(vl_convert.vegalite_to_png(spec, scale=1.5))


if __name__ == "__main__":
    main()
