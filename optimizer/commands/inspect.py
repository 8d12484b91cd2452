"""``confpress inspect``: what is in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import PATH, SECONDS, json_option, model_argument

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...passes.structure.summary import LayerSummary, ModuleSummary, Summary


@click.command("inspect", short_help="Show modules, parameters, MACs, zeros, formats.")
@model_argument
@click.option(
    "--seconds",
    type=SECONDS,
    default=10.0,
    show_default=True,
    metavar="S",
    help="Duration of the audio that multiply-accumulates (MACs) are counted for.",
)
@click.option("--layers", is_flag=True, help="Show the layers of every module, with their ids.")
@click.option(
    "--plan-template",
    "plan_file",
    type=PATH,
    metavar="PLAN.json",
    help="Write a plan for `prune` that names every prunable module, to be edited.",
)
@json_option
def command(
    model: Path, seconds: float, layers: bool, plan_file: Path | None, json_file: Path | None
) -> None:
    """Shows what is in MODEL: its modules as a tree, and what almost was one.

    The ids are the same for every exporter; recipes, patterns and reports speak in them.

    \b
    Examples:
      confpress inspect model.onnx
      confpress inspect out/interchange.onnx --layers --seconds 30
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.fuse.unfuse import Unfuse
    from ...passes.structure import recognise
    from ...passes.structure.summary import summarise
    from ...runtime.model_file import load_model
    from ...runtime.progress import progress
    from ...runtime.speech.frontend import FrontEnd
    from ..console import Column, check_output_file, print_table, write_json

    if json_file is not None:
        check_output_file(json_file, inputs=[model])
    if plan_file is not None:
        check_output_file(plan_file, inputs=[model])
    loaded = load_model(model)
    if plan_file is not None:
        _write_plan(loaded, plan_file)
    frames = round(seconds / FrontEnd.beside(model).seconds_per_frame)
    with progress("Recognising", None):
        Unfuse()(loaded)
        summary = summarise(loaded, recognise(loaded), frames)
    write_json(json_file, summary.to_json())
    print_table(
        _title(model, summary, seconds),
        [
            Column("module"),
            Column("what it is"),
            Column("operators", number=True),
            Column("parameters", number=True),
            Column("MACs", number=True),
            Column("zeros", number=True),
            Column("formats"),
        ],
        list(_rows(summary, layers)),
    )
    if summary.near_misses:
        print_table(
            "Almost recognised",
            [Column("where"), Column("why not")],
            [[miss.where, miss.reason] for miss in summary.near_misses],
        )


def _write_plan(loaded: ir.Model, path: Path) -> None:
    """Writes the plan that prunes nothing; ids are those of the simplified model."""
    from ...passes.prune import plan_template
    from ...passes.structure import recognise
    from ..console import write_text

    write_text(path, plan_template(recognise(loaded)).to_json() + "\n")


def _title(path: Path, summary: Summary, seconds: float) -> str:
    from ..text import count, size

    opsets = ", ".join(f"{name or 'opset'} {v}" for name, v in summary.opsets.items())
    parts = [
        str(path),
        f"{count(summary.parameters)} parameters",
        size(summary.bytes),
        f"{opsets}, IR {summary.ir_version}",
    ]
    if summary.producer:
        parts.append(f"by {summary.producer}")
    if summary.frames is not None:
        parts.append(f"{count(summary.macs)} MACs for {seconds:g} s")
    return "; ".join(parts)


def _rows(summary: Summary, layers: bool) -> Iterator[list[str]]:
    """The tree, depth first: modules by their path, layers below them on request.

    A block like the one before it is counted, not shown again.
    """
    same = _repeated_blocks(summary)
    opened: list[str] = []
    for module in summary.modules:
        if module.layer in same:
            continue
        *parents, name = module.id.split(".")
        common = 0
        while common < min(len(opened), len(parents)) and opened[common] == parents[common]:
            common += 1
        for depth in range(common, len(parents)):
            path = parents[: depth + 1]
            yield [_indented(depth, parents[depth]), "", *_totals(summary, path)]
        opened = [*parents, name]
        depth = len(parents)
        yield [_indented(depth, name), _what(module), *_numbers([module])]
        if layers:
            for layer in module.layers:
                short = layer.id.removeprefix(f"{module.id}.")
                yield [_indented(depth + 1, short), *_layer(layer)]
        if module.layer is not None and _is_last_of_block(summary, module):
            following = _following(module.layer, same)
            if following:
                yield [
                    _indented(depth - 1, _span(following)),
                    f"like {module.layer}",
                    *_numbers([m for m in summary.modules if m.layer in following]),
                ]


def _repeated_blocks(summary: Summary) -> set[int]:
    """Blocks that have the same modules as the block before them, formats included."""
    blocks: dict[int, list[object]] = {}
    for module in summary.modules:
        if module.layer is not None:
            parts = module.id.split(".")
            shapes = [(x.operator, x.weight_shape, x.format, x.activations) for x in module.layers]
            facts = sorted((key, str(value)) for key, value in module.facts.items())
            blocks.setdefault(module.layer, []).append((parts[-1], module.kind, facts, shapes))
    return {layer for layer, content in blocks.items() if blocks.get(layer - 1) == content}


def _following(layer: int, same: set[int]) -> list[int]:
    """The blocks right behind one that are like it."""
    following = []
    while layer + 1 in same:
        layer += 1
        following.append(layer)
    return following


def _span(layers: list[int]) -> str:
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _is_last_of_block(summary: Summary, module: ModuleSummary) -> bool:
    return [m for m in summary.modules if m.layer == module.layer][-1] is module


def _indented(depth: int, name: str) -> str:
    return f"{'  ' * depth}{name}"


def _totals(summary: Summary, path: list[str]) -> list[str]:
    prefix = ".".join(path) + "."
    return _numbers([m for m in summary.modules if m.id.startswith(prefix)])


def _what(module: ModuleSummary) -> str:
    facts = ", ".join(
        name if value is True else f"{name} {value}"
        for name, value in module.facts.items()
        if value is not None and value is not False
    )
    return f"{module.kind.replace('_', ' ')}{': ' if facts else ''}{facts}"


def _numbers(modules: list[ModuleSummary]) -> list[str]:
    from ..text import count, percent

    weights, zeros = sum(m.weights for m in modules), sum(m.zeros for m in modules)
    formats: dict[str, int] = {}
    for module in modules:
        for name, numbers in module.formats.items():
            formats[name] = formats.get(name, 0) + numbers
    total = sum(formats.values())
    unknown = sum(m.unknown_macs for m in modules)
    macs = sum(m.macs for m in modules)
    return [
        str(sum(sum(m.operators.values()) for m in modules)),
        count(sum(m.parameters for m in modules)) if total else "",
        f"{count(macs) if macs else ''}{f' + {unknown} unknown' if unknown else ''}".strip(" +"),
        percent(zeros / weights, 1) if zeros else "",
        # A format of a few scales is no format of the module.
        ", ".join(
            f"{name} {percent(n / total, 0)}" if n < total else name
            for name, n in sorted(formats.items(), key=lambda item: -item[1])
            if n >= 0.005 * total
        ),
    ]


def _layer(layer: LayerSummary) -> list[str]:
    from ..text import count, percent

    shape = " × ".join(map(str, layer.weight_shape))
    weights = max(layer.parameters, 1)
    return [
        f"{layer.operator} {shape}",
        "",
        count(layer.parameters),
        "" if layer.macs is None else count(layer.macs),
        percent(layer.zeros / weights, 1) if layer.zeros else "",
        f"{layer.format}, activations {layer.activations}",
    ]
