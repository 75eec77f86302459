"""Draws charts as pictures; a script of its own, that needs vl-convert and nothing else.

python -P painter.py bundle                      Vega and vega-embed as one script, to stdout
python -P painter.py pictures < [[file, spec, inline, prefix], ...]
                                                 each spec as a PNG file, each inline spec as an SVG
                                                 to stdout: [file, SVG, why not] a line; its ids
                                                 begin with the prefix
"""

import json
import re
import signal
import sys
from collections import Counter
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

import vl_convert

_CLIP, _GROUP = (f"{{http://www.w3.org/2000/svg}}{tag}" for tag in ("clipPath", "g"))
_NOWHERE = "translate(0,0)"

PLACED = re.compile(
    r'<(?P<tag>path|line) transform="translate\((?P<x>[^,]+),(?P<y>[^)]+)\)"(?P<rest>[^>]*)/>'
)
"""A mark at a place, as Vega writes it."""


def main() -> None:
    """Do what the first argument asks for."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler's, to all of a job: the parent's
    # Buffered, whatever PYTHONUNBUFFERED says: else Python drops the rest of a text of which a full
    # pipe took a part before a signal or a debugger came between.
    with open(1, "w", encoding="utf-8", closefd=False) as answers:
        if sys.argv[1] == "bundle":
            answers.write(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
            return
        vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point"})  # it loads, meanwhile
        for file, spec, inline, prefix in json.load(sys.stdin):
            print(json.dumps([file, *draw(file, spec, inline, prefix)]), file=answers, flush=True)


def draw(file: str, spec: dict[str, Any], inline: dict[str, Any], prefix: str) -> tuple[str, str]:
    """Draw ``spec`` into ``file``, and ``inline`` as SVG; why it could not be drawn, or ""."""
    try:
        content = vl_convert.svg_to_png(clipped_once(vl_convert.vegalite_to_svg(spec)), scale=1.5)
        with open(file, "wb") as picture:
            picture.write(content)
        return slim(vl_convert.vegalite_to_svg(inline), prefix), ""
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"


def clipped_once(svg: str) -> str:
    """``svg`` with neighbours that are clipped alike in one group that is, at every level.

    Each clipped group costs the rasteriser a layer of the whole picture: most of its time.
    """
    tree = ElementTree.fromstring(svg)
    shapes = {f"url(#{clip.get('id')})": ElementTree.tostring(clip[0]) for clip in tree.iter(_CLIP)}

    def shape(element: ElementTree.Element) -> bytes | None:
        return shapes.get(element.get("clip-path", ""))

    for parent in reversed([*tree.iter(_GROUP)]):  # children before their parents
        drawn = [
            child for child in parent if child.get("class") not in ("background", "foreground")
        ]
        for clip, alike in groupby(drawn, shape):
            members = [*alike]
            if clip is None:
                continue
            url = members[0].attrib["clip-path"]
            for member in members:
                del member.attrib["clip-path"]
            if len(members) == len(drawn) and parent.get("transform", _NOWHERE) == _NOWHERE:
                parent.set("clip-path", url)
                continue
            group = ElementTree.Element(_GROUP, {"clip-path": url})
            parent.insert([*parent].index(members[0]), group)
            for member in members:
                parent.remove(member)
                group.append(member)
    return ElementTree.tostring(tree, encoding="unicode")


def _rounded(tag: str) -> str:
    """An SVG tag whose lengths have one digit after the point."""
    return re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), tag)


def slim(svg: str, prefix: str) -> str:
    """``svg`` for a page: without what says nothing there, its ids begin with ``prefix``.

    Marks that are alike but for their place are drawn once and used: a chart of many trials is half
    as large.
    """
    svg = re.sub(r'<path class="(?:background|foreground)"[^>]*/>|<text[^>]*/>', "", svg)
    svg = re.sub(
        r' (?:aria-[a-z]+|role|pointer-events|version|xmlns:xlink|font-family)="[^"]*"', "", svg
    )
    svg = re.sub(r' (?:opacity|stroke-opacity|fill-opacity)="1"', "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: _rounded(tag[0]), svg)  # not what is written between
    svg = re.sub(r'(?<= id=")|(?<=url\(#)', prefix, svg)
    counts = Counter((mark["tag"], mark["rest"]) for mark in PLACED.finditer(svg))
    ids = {mark: f"{prefix}m{n}" for n, (mark, count) in enumerate(counts.items()) if count > 2}

    def used(mark: re.Match[str]) -> str:
        name = ids.get((mark["tag"], mark["rest"]))
        if name is None:
            return mark[0]
        at = "".join(f' {axis}="{mark[axis]}"' for axis in ("x", "y") if mark[axis] != "0")
        return f'<use href="#{name}"{at}/>'

    svg = PLACED.sub(used, svg)
    drawn = "".join(f'<{tag} id="{name}"{rest}/>' for (tag, rest), name in ids.items())
    head, _, rest = svg.partition(">")
    return f"{head}><defs>{drawn}</defs>{rest}" if drawn else svg


if __name__ == "__main__":
    main()
