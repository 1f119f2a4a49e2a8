"""OpenCV FileStorage files (YAML and XML) as plain mappings.

Read without OpenCV: its parser is native code with terse errors, and it turns camera names such as 01 into numbers.
Every scalar stays a string; a matrix is a nested list of strings.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import yaml

from data.calibration.fields import parsed
from data.calibration.qualisys import parse_xml
from pipeline.errors import InputError


def read_storage(path: Path) -> dict[str, Any]:
    """The top-level entries of a FileStorage file by name."""
    if path.suffix.lower() == ".xml":
        content = _from_xml(parsed(path, "XML", parse_xml))
    else:
        content = parsed(path, "YAML", parse_storage_yaml)
    if not isinstance(content, dict) or not content:
        raise InputError(path, "holds no named entries", "Give a file written by OpenCV's FileStorage")
    return content


def parse_storage_yaml(text: str) -> Any:
    """YAML of FileStorage. BaseLoader builds strings, lists and mappings only, whatever the tags say."""
    if text.lstrip().startswith("{"):
        raise ValueError("it is JSON")  # which YAML's grammar would let through
    text = re.sub(r"\A\s*%YAML[^\n]*\n", "", text)  # "%YAML:1.0" is no YAML directive
    loader = yaml.BaseLoader(text)
    try:
        content = _without_repeats(loader.get_single_node(), loader)
    finally:
        loader.dispose()
    return _matrices(content)


def _without_repeats(node: yaml.Node | None, loader: yaml.BaseLoader) -> Any:
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        keys = [key.value if isinstance(key, yaml.ScalarNode) else None for key, _ in node.value]
        repeated = {k for k in keys if keys.count(k) > 1}
        if repeated:
            raise ValueError(f"{sorted(map(str, repeated))} given twice")
    return loader.construct_document(node)


def _matrices(value: Any) -> Any:
    if isinstance(value, dict):
        if {"rows", "cols", "data"} <= value.keys():
            return _matrix(value["rows"], value["cols"], value["data"])
        return {str(k): _matrices(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_matrices(v) for v in value]
    return value


def _matrix(rows: str, cols: str, data: Any) -> list[list[Any]]:
    r, c = int(rows), int(cols)
    if not isinstance(data, list) or len(data) != r * c:
        count = len(data) if isinstance(data, list) else "no"
        raise ValueError(f"a matrix of {r} x {c} has {count} numbers")
    numerals = [re.sub(r"^([-+]?)\.(Nan|Inf)$", r"\1\2", str(x), flags=re.IGNORECASE) for x in data]
    return [numerals[i * c : (i + 1) * c] for i in range(r)]


def _from_xml(element: ET.Element) -> Any:
    if element.get("type_id") == "opencv-matrix":
        get = {child.tag: (child.text or "") for child in element}
        return _matrix(get.get("rows", "0"), get.get("cols", "0"), get.get("data", "").split())
    children = list(element)
    if not children:
        words = (element.text or "").split()
        return words[0].strip('"') if len(words) == 1 else [w.strip('"') for w in words]
    if all(child.tag == "_" for child in children):
        return [_from_xml(child) for child in children]
    return {child.tag: _from_xml(child) for child in children}
