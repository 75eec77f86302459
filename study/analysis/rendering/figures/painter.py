"""Draws charts as pictures; a script of its own, that needs vl-convert and nothing else.

python -P painter.py bundle                      Vega and vega-embed as one script, to stdout
python -P painter.py pictures < [[file, spec], ...]   each Vega-Lite spec as a PNG file; to stdout,
                                                 [file, ""] a line, or why it could not be drawn
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
        print(json.dumps([file, draw(file, spec)]), flush=True)


def draw(file: str, spec: dict[str, object]) -> str:
    """Draw ``spec`` into ``file``; why it could not be drawn, "" if it was."""
    try:
        content = vl_convert.vegalite_to_png(spec, scale=1.5)
        with open(file, "wb") as picture:
            picture.write(content)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    main()
