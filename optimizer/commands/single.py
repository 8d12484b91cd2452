"""What the commands that run one stage alone have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..records import StageRecord


def run_alone(
    name: str,
    source: Path,
    output: Path,
    json_file: Path | None,
    passes: Callable[[ir.Model], Sequence[ir.passes.PassBase]],
) -> None:
    """Loads a model, runs passes, writes the model, tells what they did.

    Args:
        name: The stage, for the table and the JSON.
        source: The model.
        output: Where the new model goes, whole or not at all.
        json_file: Where the record goes, if anywhere.
        passes: Makes the passes, given the loaded model.

    Raises:
        ConfpressError: the model cannot be read, the passes refuse it, or the output cannot be
            written.
    """
    from ...passes.base import run
    from ...runtime.model_file import load_model, save_model
    from ...runtime.progress import progress
    from ..census import census
    from ..console import check_output_file, write_json
    from ..records import StageRecord, change_records, refusal_records

    check_output_file(output, inputs=[source])
    if json_file is not None:
        check_output_file(json_file, inputs=[source, output])
    start = time.perf_counter()
    model = load_model(source)
    before = census(model)
    prepared = passes(model)
    with progress(f"{name} {source.name}", None):
        result = run(prepared, model)
        save_model(result.model, output)
    record = StageRecord(
        name=name,
        about=f"{source} to {output}",
        status="done",
        seconds=time.perf_counter() - start,
        lossless=False,
        changes=change_records(result.changes),
        refusals=refusal_records(result.refusals),
        before=before,
        after=census(result.model),
    )
    write_json(json_file, record)
    print_stage(record)


def print_stage(record: StageRecord) -> None:
    """Prints what a stage did: sizes, changes, and what it left alone."""
    from ..console import Column, print_table
    from ..records import grouped
    from ..text import size

    if record.before is not None and record.after is not None:
        print_table(
            record.about,
            [Column(""), Column("before", number=True), Column("after", number=True)],
            [
                ["nodes", f"{record.before.nodes:,}", f"{record.after.nodes:,}"],
                ["parameters", f"{record.before.parameters:,}", f"{record.after.parameters:,}"],
                ["bytes of constants", size(record.before.bytes), size(record.after.bytes)],
            ],
        )
    for title, said in (
        ("changed", grouped((c.what, c.where) for c in record.changes)),
        ("left alone", grouped((r.reason, r.where) for r in record.refusals)),
    ):
        if said:
            print_table("", [Column(title), Column("where")], said)
