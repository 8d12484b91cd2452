"""The guides' commands, run as they stand in the documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.optimizer.demo import CALIBRATION_CLIPS, TEST_CLIPS, demo_folder
from confpress.passes.structure import recognise
from confpress.runtime.model_file import load_model, save_model

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.export import export_onnx  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: In this order: the last one looks at what the first one made.
GUIDES = ("ship-a-model", "cut-a-pruned-model", "find-the-milliseconds")
BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the guides start from: the demo's speech, a small seeded model.

    There is a `confpress` in it to call.
    """
    folder, demo = tmp_path_factory.mktemp("desk"), demo_folder()
    for name in ("tokens.txt", "frontend.json"):
        shutil.copy(demo / name, folder)
    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=28, d_model=32, layers=2, heads=2, ff_dim=64, kernel=7, subsampling_channels=8
    )
    export_onnx(ConformerCTC(config).eval(), folder / "model.onnx")
    (folder / "calls").mkdir()
    for clip in (demo / "clips").glob(f"{CALIBRATION_CLIPS}*"):
        shutil.copy(clip, folder / "calls")
    head, *lines = (demo / "clips" / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    tests = [line for line in lines if line.startswith(TEST_CLIPS)][:4]
    for line in tests:
        shutil.copy(demo / "clips" / line.split("\t")[1], folder)
    (folder / "test.tsv").write_text("\n".join([head, *tests]) + "\n", encoding="utf-8")
    write_pruned(folder / "model.onnx", folder / "pruned.onnx")
    command = folder / "bin" / "confpress"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m confpress.optimizer "$@"\n')
    command.chmod(0o755)
    return folder


def write_pruned(source: Path, path: Path) -> None:
    """Half of the units of every first feed-forward module go into nothing."""
    model = load_model(source)
    for linear in recognise(model).linears:
        if linear.id.endswith("feed_forward1.linear2"):
            weight = linear.weight
            cut = np.array(weight.const_value.numpy())
            np.moveaxis(cut, linear.out_axis, -1)[: linear.in_features // 2] = 0
            weight.const_value = ir.tensor(cut, name=weight.name)
    save_model(model, path)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_do_what_the_guide_says(guide: str, desk: Path) -> None:
    text = (DOCS / f"{guide}.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) >= 3
    programs = f"{desk / 'bin'}{os.pathsep}{Path(sys.executable).parent}"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        done = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=desk,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    if guide == "cut-a-pruned-model":
        sizes = [(desk / name).stat().st_size for name in ("pruned.onnx", "small.onnx")]
        assert sizes[1] < 0.97 * sizes[0]


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (DOCS / target).exists(), f"{path.name}: {target}"
