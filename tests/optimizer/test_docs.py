from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from confpress.optimizer.docs import (
    RECIPE_EXAMPLE,
    finetuning_markdown,
    recipe_markdown,
    report_markdown,
)
from confpress.optimizer.recipe.recipe import Recipe, merge, parse

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "write"), [("recipe.md", recipe_markdown), ("report.md", report_markdown)]
)
def test_the_documents_are_what_the_code_says(name: str, write) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == write(), "run: python -m confpress.optimizer.docs docs"


def test_the_options_of_finetuning_are_what_the_code_says() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    written = (DOCS / "finetuning-options.md").read_text(encoding="utf-8")
    assert written == finetuning_markdown(), "run: python -m confpress.optimizer.docs docs"


def test_the_example_is_a_recipe() -> None:
    said = tomllib.loads(RECIPE_EXAMPLE)
    recipe = parse(merge(Recipe().to_dict(), said), source="the example")
    assert recipe.positions.max_seconds == 30
    assert recipe.bench.threads == (1, 4)


def test_every_section_and_key_is_documented() -> None:
    text = recipe_markdown()
    for section, field in Recipe.model_fields.items():
        assert f"### `[{section}]`" in text
        for key in field.annotation.model_fields:
            assert f"| `{key}` |" in text
