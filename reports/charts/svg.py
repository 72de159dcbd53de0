"""An SVG as a chart library writes it -> a small one for a page: no roles, no fonts, classes instead of colours, unique ids.

Colours become classes, so that the page's style sheet decides them for light, dark and print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

_SVG = "http://www.w3.org/2000/svg"
_DROP = frozenset(
    {"aria-label", "aria-hidden", "aria-roledescription", "role", "pointer-events", "class", "version", "stroke-miterlimit"}
    | {"font-family", "font-size", "font-weight", "font-style", "style"}
)
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1"), ("transform", "translate(0,0)"), ("text-anchor", "start")}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_NUMERIC = frozenset({"d", "transform", "x", "y", "x1", "y1", "x2", "y2", "width", "height", "stroke-width"})


def tidy(svg: str, *, prefix: str, title: str, classes: Mapping[str, str]) -> str:
    """The chart `svg` made small.

    prefix     stands before every id, so that several charts live in one page
    title      what a screen reader says instead of the picture
    classes    colour as the chart library wrote it -> class name; a fill gets "f-name", a stroke "s-name"
    """
    root = ET.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        _clean(element, prefix, classes)
    _prune(root)
    for group in root.iter("g"):
        _merge_paths(group)
    root.attrib |= {"class": "chart", "role": "img", "aria-labelledby": f"{prefix}-title"}
    name = ET.Element("title", {"id": f"{prefix}-title"})
    name.text = title
    root.insert(0, name)
    return ET.tostring(root, encoding="unicode")


def _clean(element: ET.Element, prefix: str, classes: Mapping[str, str]) -> None:
    names = []
    for attribute, short in (("fill", "f"), ("stroke", "s")):
        colour = element.get(attribute, "").lower()
        if colour in classes:
            names.append(f"{short}-{classes[colour]}")
            del element.attrib[attribute]
    for key, value in list(element.attrib.items()):
        if key in _DROP or (key, value) in _DEFAULTS or key.startswith("{"):
            del element.attrib[key]
        elif key == "id":
            element.set(key, f"{prefix}-{value}")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{prefix}-"))
        elif key in _NUMERIC:
            element.set(key, _NUMBER.sub(_rounded, value))
    if names:
        element.set("class", " ".join(names))


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0").replace("-0", "-0" if float(number[0]) <= -0.05 else "0", 1)


def _prune(element: ET.Element) -> None:
    """Drop paths that draw nothing and groups that hold nothing, and lift the child of a group that says nothing."""
    for child in list(element):
        _prune(child)
        nothing_drawn = child.tag == "path" and (not child.get("d") or not (child.get("class") or child.get("fill") or child.get("stroke")))
        if nothing_drawn or (child.tag in ("g", "defs") and len(child) == 0):
            element.remove(child)
        elif child.tag == "g" and not child.attrib and len(child) == 1:
            element[list(element).index(child)] = child[0]


def _merge_paths(group: ET.Element) -> None:
    """Join the group's paths that look the same.  Marks of one group do not overlap, so their order does not matter."""
    seen: dict[tuple[tuple[str, str], ...], ET.Element] = {}
    for path in [p for p in group if p.tag == "path" and "transform" not in p.attrib]:
        look = tuple(sorted((k, v) for k, v in path.attrib.items() if k != "d"))
        if look in seen:
            seen[look].set("d", seen[look].get("d", "") + path.get("d", ""))
            group.remove(path)
        else:
            seen[look] = path
