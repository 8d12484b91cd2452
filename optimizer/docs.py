"""Writes references in ``docs/`` from the code that reads and writes what they describe.

``python -m confpress.optimizer.docs DOCS`` writes them into a folder; a test compares the ones of
the repository with what this module writes. That of fine-tuning needs the extra `train`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from .recipe.presets import PRESETS
from .recipe.recipe import Recipe
from .report.schema import Report
from .result.decisions import Decisions
from .result.manifest import Manifest
from .training.finetune import options

Schema = Mapping[str, Any]

_GENERATED = "<!-- written by `python -m confpress.optimizer.docs docs`; do not edit -->"

RECIPE_EXAMPLE = """\
[positions]
mode = "trim"        # store the position table for this much audio only
max_seconds = 30

[quantize]
exclude = ["encoder.layers.0.*", "head*"]

[lower]
targets = ["cpu"]

[bench]
seconds = [2.0, 10.0]
threads = [1, 4]
"""

_RECIPE_INTRODUCTION = """\
# Recipes

A recipe tells `confpress optimize` what each stage shall do. It is TOML, one section a stage; what
it does not say stays as the preset has it. An unknown section or key, or a value that is not
allowed, is refused in a sentence that names the line, the key and what is allowed.

    confpress optimize model.onnx -o out --recipe mine.toml

Options of the command line (`--target`, `--subset`, `--max-wer-increase`, `--max-seconds`,
`--threads`) come on top. `report.json` states the recipe that was in force.

## Example

```toml
{example}```

## Presets

`--preset NAME` chooses what the recipe's keys are set on top of.

{presets}

## Sections, in the order of the stages
"""

_REPORT_INTRODUCTION = """\
# The result folder

`confpress optimize` writes

| file | what it is |
|---|---|
| `interchange.onnx` | the optimised model in standard ONNX operators, QDQ nodes state its formats |
| `portable/model.onnx` | for any stock ONNX Runtime |
| `cpu/model.onnx` | for ONNX Runtime with the kernel library; correct without it |
| `cuda/model.onnx` | for onnxruntime-gpu; only where it is asked for |
| `tokens.txt`, `frontend.json` | vocabulary and features, beside each model so that it runs alone |
| `report.html` | the evidence for people: one file, opens offline |
| `report.json` | the same for machines: `Report` below |
| `manifest.json` | SHA-256 and size of every file: `Manifest` below |
| `decisions.json` | what was measured and then built on: `Decisions` below |

The folder appears whole or not at all: it is written in `.OUT.work` beside it and takes its place
in one step at the end; an earlier result of Confpress is replaced, any other folder is refused.
While a run writes OUT, another one is refused. A run that was killed, interrupted or ended by an
error keeps what it had finished in `.OUT.work`: the same command goes on from there (`resumed` in
the record of a stage) and removes the folder at its end.

# `report.json`

Rates are fractions (0.05 is 5 %), sizes bytes, times as their names say. Intervals are 95 %
bootstrap intervals over utterances; differences are paired. `null` means not measured; `notes`
says why.

A stage that is `lossless` was compared with the original at two lengths and two batch sizes
(`proof`); a run in which one differs by more than its tolerance is an error and writes nothing.
`validation` compares each model with the original, `lowering` each target with
`interchange.onnx`, so that what quantisation costs and what lowering costs are told apart (not
`cuda`, which is made from the model as it was before `quantize`).
"""


_FINETUNING_INTRODUCTION = """\
# Options of `confpress finetune`

`--config FILE` is TOML with these sections ([what they do](finetuning.md)). A section `gates`,
`sparsity` or `low_bit` asks for its method, with its defaults where it is empty; `--keep`,
`--sparse` and `--bits` ask for them too, and set one key each.

```toml
[training]
epochs = 30
bfloat16 = true

[sparsity]
pattern = "16:64"
exclude = ["encoder.pre_encode.*", "decoder*"]
```
"""


def finetuning_markdown() -> str:
    """The text of `docs/finetuning-options.md`."""
    parts = [_GENERATED, _FINETUNING_INTRODUCTION]
    for name, field in options().model_fields.items():
        candidates = get_args(field.annotation) or (field.annotation,)
        section = candidates[0]
        assert isinstance(section, type) and issubclass(section, BaseModel)
        parts.append(f"## `[{name}]`\n\n{_about(section)}\n\n{_keys(section)}\n")
    return "\n".join(parts)


def recipe_markdown() -> str:
    """The text of `docs/recipe.md`."""
    rows = ((f"`{name}`", preset.about) for name, preset in PRESETS.items())
    presets = _table(("preset", "what it does"), rows)
    parts = [_GENERATED, _RECIPE_INTRODUCTION.format(example=RECIPE_EXAMPLE, presets=presets)]
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        assert isinstance(section, type) and issubclass(section, BaseModel)
        parts.append(f"### `[{name}]`\n\n{_about(section)}\n\n{_keys(section)}\n")
    return "\n".join(parts)


def report_markdown() -> str:
    """The text of `docs/report.md`."""
    parts = [_GENERATED, _REPORT_INTRODUCTION]
    for model in (Report, Manifest, Decisions):
        schema = model.model_json_schema(mode="serialization")
        parts.append(_definition(model.__name__, schema))
        parts.extend(_definition(*item) for item in sorted(schema.get("$defs", {}).items()))
    return "\n".join(parts)


def _definition(name: str, schema: Schema) -> str:
    rows = (
        (f"`{key}`", _type(value), _cell(value.get("description", "")))
        for key, value in schema.get("properties", {}).items()
    )
    description = " ".join(str(schema.get("description", "")).split())
    return f"## `{name}`\n\n{description}\n\n{_table(('key', 'type', 'meaning'), rows)}\n"


def _keys(section: type[BaseModel]) -> str:
    properties = section.model_json_schema()["properties"]
    rows = (
        (
            f"`{key}`",
            # TOML has no null: a key that is not set is left out.
            _type(value).removesuffix(" or null"),
            _default(value),
            _cell(value.get("description", "")),
        )
        for key, value in properties.items()
    )
    return _table(("key", "allowed", "default", "meaning"), rows)


def _default(schema: Schema) -> str:
    value = schema.get("default")
    return "not set" if value is None else f"`{json.dumps(value)}`"


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[-1]}`"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return _array(schema)
    if kind == "object":
        return _object(schema)
    names = {"integer": "whole number", "boolean": "`true` or `false`", "string": "text"}
    return f"{names.get(kind, kind)}{_bounds(schema)}"


def _array(schema: Schema) -> str:
    items = schema.get("prefixItems")
    if items:
        return f"{len(items)} × {_type(items[0])}"
    return f"list of {_type(schema.get('items', {}))}"


def _object(schema: Schema) -> str:
    values = schema.get("additionalProperties")
    return f"table of {_type(values)}" if isinstance(values, Mapping) and values else "table"


def _bounds(schema: Schema) -> str:
    signs = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{words} {schema[key]:g}" for key, words in signs.items() if key in schema]
    return f" {', '.join(found)}" if found else ""


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(folder: Path) -> None:
    """Writes the documents into a folder."""
    (folder / "recipe.md").write_text(recipe_markdown(), encoding="utf-8")
    (folder / "report.md").write_text(report_markdown(), encoding="utf-8")
    (folder / "finetuning-options.md").write_text(finetuning_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
