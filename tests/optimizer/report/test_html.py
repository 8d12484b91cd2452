from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.report.html import render
from confpress.optimizer.report.schema import Report

VOID = {"meta", "br", "rect", "path", "link", "img"}
SECTIONS = (
    "summary", "stages", "layers", "validation", "benchmark", "profile", "environment", "reproduce",
)  # fmt: skip


class Page(HTMLParser):
    """Reads a page: its text, its tags' attributes, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def report(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, fast_recipe: Path, tmp_path: Path
) -> Report:
    return optimize(
        tiny_ctc,
        fast_recipe,
        output=tmp_path / "out",
        calibration=speech_folder,
        validation=other_speech,
    ).report


def test_the_page_is_whole_and_asks_for_nothing(report: Report) -> None:
    text = render(report)
    page = Page(text)
    sections = [attributes.get("id") for tag, attributes in page.seen if tag == "section"]
    assert sections == list(SECTIONS)
    for tag, attributes in page.seen:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "srcset", "data"} & set(attributes)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    shown = " ".join(page.words)
    for row in report.summary:
        assert row.name in shown
    for stage in report.stages:
        assert stage.name in shown
    for model in report.models:
        assert model.sha256 in shown
    speech = report.validation["cpu"].speech
    assert speech is not None and speech.words is not None
    errors = speech.words.candidate
    kinds = (errors.substitutions, errors.deletions, errors.insertions)
    assert sum(kinds) == errors.errors > 0
    assert "cpu {} substituted, {} deleted, {} inserted".format(*kinds) in shown


def test_every_layer_has_its_cell_and_its_line(report: Report) -> None:
    halved = [
        layer.model_copy(update={"block": block, "zeros": layer.weights // 2, "format": "int4"})
        for block in (0, 1)
        for layer in report.layers
    ]
    found = [(layer.weights, layer.format, layer.activations) for layer in report.layers]
    assert found == [(80 * 16, "int8", "dynamic"), (16 * 7, "float32", "float")]
    text = render(report.model_copy(update={"layers": (*report.layers, *halved)}))
    shown = " ".join(Page(text).words)
    assert "int8, inputs dynamic" in shown
    assert "int4, inputs float" in shown
    assert "50.0 %" in shown
    for target in ("portable", "cpu"):
        assert f"runs on {target}" in shown
    bare = render(report.model_copy(update={"layers": ()}))
    assert 'id="layers"' not in bare


def test_a_run_without_measurements_has_a_page_too(report: Report) -> None:
    bare = report.model_copy(
        update={
            "benchmark": None,
            "profile": {},
            "validation_data": None,
            "summary": tuple(
                row.model_copy(
                    update={"p50_ms": None, "faster": None, "wer": None, "wer_interval": None}
                )
                for row in report.summary
            ),
            "notes": ("Latency was not measured.",),
        }
    )
    page = Page(render(bare))
    assert "Latency was not measured." in " ".join(page.words)


def test_names_cannot_break_the_page(report: Report) -> None:
    evil = report.model_copy(
        update={
            "models": tuple(
                m.model_copy(update={"path": "<script>alert(1)</script>&.onnx"})
                for m in report.models
            )
        }
    )
    page = Page(render(evil))
    assert "script" not in {tag for tag, _ in page.seen}
    assert any("<script>alert(1)</script>&.onnx" in word for word in page.words)
