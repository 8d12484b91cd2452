"""The exporter's own name for a place in the graph: shown to people, never relied on."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable

import onnx_ir as ir

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def scope_of(node: ir.Node) -> str:
    """The exporter's dotted name of the module that a node comes from, or "".

    1. The dynamo exporter keeps a list of scopes in the node's metadata, the node itself last.
    2. The TorchScript exporter makes the node's name a path.
    """
    scopes = node.metadata_props.get(_SCOPES_KEY)
    if scopes:
        try:
            names = ast.literal_eval(scopes)
        except (SyntaxError, ValueError):
            return ""
        return str(names[-2]) if isinstance(names, list) and len(names) > 1 else ""
    path = node.name or ""
    if path.startswith("/") and path.count("/") > 1:
        return path[1 : path.rindex("/")].replace("/", ".")
    return ""


def common_scope(scopes: Iterable[str]) -> str:
    """The longest dotted name that all the given ones begin with."""
    names = [scope.split(".") for scope in scopes if scope]
    columns = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
    return ".".join(parts[0] for parts in columns)
