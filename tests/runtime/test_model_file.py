from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import model_file
from confpress.runtime.model_file import (
    file_bytes,
    load_model,
    model_files,
    opset_domains,
    save_model,
    sha256,
    weight_bytes,
)

MakeModel = Callable[..., Path]


@pytest.fixture
def external(tiny_ctc: Path, tmp_path: Path) -> Path:
    """The small model with its weights in external data."""
    path = tmp_path / "external" / "model.onnx"
    save_model(load_model(tiny_ctc), path, external_data=True)
    return path


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def redirect(path: Path, location: str) -> None:
    """Point every external tensor of a file at another location."""
    proto = onnx.load_model(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())


def refused(path: Path) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(ConfpressError) as caught:
        load_model(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_round_trip_keeps_weights_and_leaves_no_temporary_files(
    tiny_ctc: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_ctc)
    copy = tmp_path / "new" / "copy.onnx"
    save_model(model, copy)
    assert [p.name for p in copy.parent.iterdir()] == ["copy.onnx"]
    before, after = weights(model), weights(load_model(copy))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert weight_bytes(model) == sum(w.nbytes for w in before.values())


def test_weights_inside_the_file_are_mapped_and_survive_a_save_over_it(tiny_ctc: Path) -> None:
    proto = onnx.load_model(tiny_ctc)
    model = load_model(tiny_ctc)
    expected = weights(model)
    assert not expected["weight1"].flags.writeable  # the file's pages, not a copy
    save_model(model, tiny_ctc)
    assert all(np.array_equal(w, expected[name]) for name, w in weights(model).items())
    again = onnx.load_model(tiny_ctc)
    onnx.checker.check_model(again)
    assert [i.name for i in again.graph.initializer] == [i.name for i in proto.graph.initializer]


@pytest.mark.parametrize(
    "dtype",
    ["FLOAT", "FLOAT16", "BFLOAT16", "INT8", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT4E2M1", "BOOL"],
)
def test_every_element_type_comes_back_from_a_file(tmp_path: Path, dtype: str) -> None:
    kind = ir.DataType[dtype]
    codes = np.random.default_rng(0).integers(0, 2, (3, 1101)).astype(kind.numpy())
    weight = ir.Value(name="w", const_value=ir.Tensor(codes, dtype=kind, name="w"))
    model = ir.Model(ir.Graph([], [], nodes=[], initializers=[weight], name="g"), ir_version=11)
    model.opset_imports[""] = 23
    save_model(model, tmp_path / "model.onnx")
    tensor = load_model(tmp_path / "model.onnx").graph.initializers["w"].const_value
    assert tensor is not None and tensor.dtype == kind
    assert np.array_equal(tensor.numpy().astype(np.float32), codes.astype(np.float32))
    read = onnx.load_model(tmp_path / "model.onnx").graph.initializer[0]
    assert np.array_equal(ir.from_proto(read).numpy().astype(np.float32), codes.astype(np.float32))


def test_a_weight_whose_bytes_do_not_fit_its_shape_is_refused(tiny_ctc: Path) -> None:
    proto = onnx.load_model(tiny_ctc)
    weight = max(proto.graph.initializer, key=lambda i: len(i.raw_data))
    weight.dims[0] += 1
    tiny_ctc.write_bytes(proto.SerializeToString())
    assert weight.name in refused(tiny_ctc)


def test_external_data_is_found_mapped_and_counted(external: Path, tiny_ctc: Path) -> None:
    model = load_model(external)
    tensor = model.graph.initializers["weight1"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    data = external.with_name("model.onnx.data")
    assert model_files(external) == (external, data)
    assert file_bytes(external) == external.stat().st_size + data.stat().st_size
    original = weights(load_model(tiny_ctc))
    assert np.array_equal(weights(model)["weight1"], original["weight1"])


def test_saving_elsewhere_embeds_mapped_weights_and_keeps_the_model(
    external: Path, tmp_path: Path
) -> None:
    model = load_model(external)
    copy = tmp_path / "copy.onnx"
    save_model(model, copy)
    assert model_files(copy) == (copy,)
    assert isinstance(model.graph.initializers["weight1"].const_value, ir.ExternalTensor)
    assert np.array_equal(weights(load_model(copy))["weight1"], weights(model)["weight1"])


def test_a_model_can_replace_the_files_it_is_mapped_from(external: Path) -> None:
    model = load_model(external)
    before = {name: array.copy() for name, array in weights(model).items()}
    save_model(model, external, external_data=True)
    after = weights(load_model(external))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_alignment_of_external_data(tiny_ctc: Path, tmp_path: Path) -> None:
    path = tmp_path / "aligned" / "model.onnx"
    save_model(load_model(tiny_ctc), path, external_data=True, alignment=4096)
    tensors = [v.const_value for v in load_model(path).graph.initializers.values()]
    offsets = [t.offset for t in tensors if isinstance(t, ir.ExternalTensor)]
    assert offsets
    assert all(offset is not None and offset % 4096 == 0 for offset in offsets)


def test_weights_that_no_single_file_holds_go_beside_it(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_ctc)
    monkeypatch.setattr(model_file, "EMBED_LIMIT_BYTES", weight_bytes(model) - 1)
    path = tmp_path / "large" / "model.onnx"
    save_model(model, path)
    assert [p.name for p in model_files(path)] == ["model.onnx", "model.onnx.data"]
    assert np.array_equal(weights(load_model(path))["weight1"], weights(model)["weight1"])


@pytest.mark.parametrize("external_data", [False, True])
def test_a_failed_save_keeps_the_old_file(tiny_ctc: Path, external_data: bool) -> None:
    before = tiny_ctc.read_bytes()
    model = load_model(tiny_ctc)
    allowed, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(ConfpressError, match=r"cannot write .*: .*\.$"):
            save_model(model, tiny_ctc, external_data=external_data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, hard))
    assert tiny_ctc.read_bytes() == before
    assert not [p for p in tiny_ctc.parent.iterdir() if p.name.startswith(".")]


def test_domains_are_read_from_file_and_bytes(tiny_ctc: Path) -> None:
    proto = onnx.load_model(tiny_ctc)
    proto.opset_import.append(onnx.helper.make_opsetid("confpress.v1", 1))
    assert opset_domains(tiny_ctc) == {""}
    assert opset_domains(proto.SerializeToString()) == {"", "confpress.v1"}


def test_sha256(tiny_ctc: Path, tmp_path: Path) -> None:
    assert sha256(tiny_ctc) == hashlib.sha256(tiny_ctc.read_bytes()).hexdigest()
    with pytest.raises(ConfpressError, match="cannot read"):
        sha256(tmp_path / "none")


def test_constant_nodes_in_external_data_are_embedded(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)'
        "{ c = Constant <value = float[2] {1.0, 2.0}> ()  y = Add (x, c) }"
    )
    tensor = proto.graph.node[0].attribute[0].t
    raw = np.array([3, 4], np.float32).tobytes()
    (tmp_path / "c.data").write_bytes(raw)
    onnx.external_data_helper.set_external_data(tensor_with_raw(tensor, raw), "c.data")
    tensor.ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    copy = tmp_path / "elsewhere" / "copy.onnx"
    save_model(load_model(path), copy)
    stored = onnx.load_model(copy).graph.node[0].attribute[0].t
    assert onnx.numpy_helper.to_array(stored).tolist() == [3.0, 4.0]


def tensor_with_raw(tensor: onnx.TensorProto, raw: bytes) -> onnx.TensorProto:
    tensor.ClearField("float_data")
    tensor.raw_data = raw
    return tensor


class TestRefusals:
    def test_no_such_file(self, tmp_path: Path) -> None:
        assert "no model file" in refused(tmp_path / "none.onnx")

    def test_folder(self, tmp_path: Path) -> None:
        assert "is a folder" in refused(tmp_path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"just some text, not a model at all", "is not an ONNX model"),
            (b"\x89PNG\r\n\x1a\n" + bytes(200), "is not an ONNX model"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
            (b"\x18\x00\x00\x00ORTM" + bytes(100), "ONNX Runtime's own format"),
            (b"\x08\x08", "cut off"),
        ],
    )
    def test_not_a_model(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        assert words in refused(path)

    def test_cut_at_any_place(self, tiny_ctc: Path) -> None:
        data = tiny_ctc.read_bytes()
        # Fewer than two bytes say nothing about what the file was.
        for end in {*range(2, len(data) - 1, 97), len(data) - 1}:
            tiny_ctc.write_bytes(data[:end])
            assert "cut off" in refused(tiny_ctc), end

    def test_a_graph_that_is_no_graph(self, tiny_ctc: Path) -> None:
        data = bytearray(tiny_ctc.read_bytes())
        start = data.index(b"MatMul")
        data[start - 2] = 0xFF
        tiny_ctc.write_bytes(bytes(data))
        assert "not a valid ONNX model" in refused(tiny_ctc)

    def test_missing_external_data(self, external: Path) -> None:
        external.with_name("model.onnx.data").unlink()
        text = refused(external)
        assert "model.onnx.data" in text
        assert "is missing" in text

    def test_short_external_data(self, external: Path) -> None:
        os.truncate(external.with_name("model.onnx.data"), 100)
        assert "is cut off" in refused(external)

    @pytest.mark.parametrize("location", ["/etc/hostname", "../secret.bin", "sub/../../secret.bin"])
    def test_location_outside_the_folder(self, external: Path, location: str) -> None:
        (external.parent.parent / "secret.bin").write_bytes(bytes(10**6))
        redirect(external, location)
        text = refused(external)
        assert "outside the model's folder" in text
        assert location in text

    def test_link_that_leads_outside(self, external: Path) -> None:
        secret = external.parent.parent / "secret.bin"
        secret.write_bytes(bytes(10**6))
        (external.parent / "inside.bin").symlink_to(secret)
        redirect(external, "inside.bin")
        assert "outside the model's folder" in refused(external)

    def test_subfolders_are_allowed(self, external: Path) -> None:
        (external.parent / "sub").mkdir()
        external.with_name("model.onnx.data").rename(external.parent / "sub" / "weights")
        redirect(external, "sub/weights")
        assert weights(load_model(external))["weight1"].shape == (80, 16)


def test_a_link_leads_to_what_is_written(tiny_ctc: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.onnx"
    link.symlink_to("there/written.onnx")
    save_model(load_model(tiny_ctc), link, external_data=True)
    assert link.is_symlink()
    assert weights(load_model(link)).keys() == weights(load_model(tiny_ctc)).keys()
    assert {part.name for part in (tmp_path / "there").iterdir()} == {
        "written.onnx",
        "written.onnx.data",
    }


@pytest.mark.parametrize(("field", "name"), [("initializer", "weight1"), ("node", "logprobs")])
def test_what_is_read_and_not_given_is_refused(tiny_ctc: Path, field: str, name: str) -> None:
    proto = onnx.load_model(tiny_ctc)
    proto.graph.ClearField(field)  # type: ignore[arg-type]
    tiny_ctc.write_bytes(proto.SerializeToString())
    assert f"reads '{name}', which is no input, no weight" in refused(tiny_ctc)


def test_nodes_are_put_behind_what_they_read(tiny_ctc: Path) -> None:
    model = onnx.load(tiny_ctc)
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    onnx.save(model, tiny_ctc)
    onnx.checker.check_model(ir.to_proto(load_model(tiny_ctc)))


def test_nodes_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18]>
    g (float[1] x) => (float[1] b) { a = Neg (x)  b = Neg (a) }"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].input[0] = "b"
    onnx.save(model, tmp_path / "round.onnx")
    with pytest.raises(ConfpressError, match="wait for each other"):
        load_model(tmp_path / "round.onnx")
