"""Model files: read with every check that a file from elsewhere needs, written whole or not at all.

Weights stay memory-mapped, inside the file or beside it: a model of many gigabytes is opened
without being read, and written without a second copy of it in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from ..passes.errors import ConfpressError
from .onnx_wire import (
    GRAPH,
    IR_VERSION,
    OPSET_IMPORT,
    RawData,
    TruncatedError,
    WireError,
    leave_out_weights,
    put_in_weights,
    top_level_fields,
)

#: Weights above this many bytes go into external data: a protobuf message ends at 2 GiB.
EMBED_LIMIT_BYTES = 2**31 - 64 * 2**20
#: Tensors up to this many bytes (shapes, scalars) stay in the model's message.
EXTERNAL_THRESHOLD_BYTES = 1024
DATA_SUFFIX = ".data"

_ORT_FORMAT_MARK = b"ORTM"
_LFS_MARK = b"version https://git-lfs"
_BITS_OF_A_BYTE = 8
_STAND_IN = "stands in for a weight until the file is written"


def load_model(path: Path | str) -> ir.Model:
    """Read an ONNX model; its weights are memory-mapped, external data after a check.

    Raises:
        ConfpressError: there is no such file, it is not ONNX, it is cut off, a node reads what
            nothing gives, nodes wait for each other, or its external data is missing, too short
            or outside the model's folder.
    """
    path = Path(path)
    opset_domains(path)  # refuses what is not a whole ONNX file, before anything is parsed
    try:
        model = _parse(path)
    # What a parser raises on a broken file has no common class but Exception.
    except Exception as error:
        raise ConfpressError(f"{path} is not a valid ONNX model: {_one_line(error)}.") from error
    _refuse_dangling(model, path)
    _sort(model, path)
    _bind_external_data(model, path.resolve())
    return model


def save_model(
    model: ir.Model,
    path: Path | str,
    *,
    external_data: bool | None = None,
    alignment: int | None = None,
) -> None:
    """Write a model so that `path` holds either the old file or the whole new one.

    The weights lie in the file itself, or beside it in `<name>.data` where they are external.
    The model is left as it was; weights that it maps from another file are copied.

    Args:
        model: The model; not changed.
        path: Where to write, or a link to it; missing folders are made.
        external_data: Whether weights go beside the model; by default only those that a single
            file cannot hold (2 GiB).
        alignment: Alignment of external tensors in bytes (4096 lets packed weights be mapped and
            used in place); None packs them densely.

    Raises:
        ConfpressError: the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    if external_data is None:
        external_data = weight_bytes(model) > EMBED_LIMIT_BYTES
    folder: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
        _write(model, Path(folder) / path.name, external_data, alignment)
        # The data goes first, so that no new model stands beside missing data.
        for part in sorted(Path(folder).iterdir(), key=lambda p: p.name == path.name):
            part.replace(path.parent / part.name)
    except OSError as error:
        raise ConfpressError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def opset_domains(model: Path | str | bytes) -> frozenset[str]:
    """The operator domains that a model imports, read without parsing its weights.

    Raises:
        ConfpressError: there is no such file, it is not ONNX, or it is cut off.
    """
    if isinstance(model, bytes):
        return _domains(model, "the model")
    path = Path(model)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ConfpressError(f"{path} is empty, not an ONNX model.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _domains(data, str(path))
    except FileNotFoundError as error:
        raise ConfpressError(f"there is no model file {path}.") from error
    except IsADirectoryError as error:
        raise ConfpressError(f"{path} is a folder, not an ONNX model.") from error
    except OSError as error:
        raise ConfpressError(f"cannot read {path}: {error.strerror or error}.") from error


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    return sum(tensor.nbytes for _, tensor in _initializers(model))


def release_pages(model: ir.Model) -> None:
    """Lets go of the pages of mapped weights; they are read from the file again when needed."""
    for _, tensor in _initializers(model):
        mapped = tensor.raw if isinstance(tensor, ir.ExternalTensor) else _mapping(tensor)
        if mapped is not None and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def model_files(path: Path | str) -> tuple[Path, ...]:
    """The model file and its external data files.

    Raises:
        ConfpressError: as `load_model`.
    """
    path = Path(path)
    locations = {
        str(tensor.location)
        for _, tensor in _initializers(load_model(path))
        if isinstance(tensor, ir.ExternalTensor)
    }
    return path, *(path.resolve().parent / location for location in sorted(locations))


def file_bytes(path: Path | str) -> int:
    """Size of a model on disk in bytes, external data included."""
    return sum(part.stat().st_size for part in model_files(path))


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        ConfpressError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfpressError(f"cannot read {path}: {error.strerror or error}.") from error


def _domains(data: bytes | mmap.mmap, name: str) -> frozenset[str]:
    try:
        fields = list(top_level_fields(data))
    except TruncatedError as error:
        if data[0] == IR_VERSION << 3:
            raise ConfpressError(f"{name} is cut off: {error}.") from error
        raise ConfpressError(_not_onnx(data, name)) from error
    except WireError as error:
        raise ConfpressError(_not_onnx(data, name)) from error
    numbers = {field.number for field in fields}
    if IR_VERSION not in numbers:
        raise ConfpressError(_not_onnx(data, name))
    if not {GRAPH, OPSET_IMPORT} <= numbers:
        missing = "graph" if GRAPH not in numbers else "operator set versions"
        raise ConfpressError(f"{name} is cut off: it has no {missing}.")
    try:
        return frozenset(
            onnx.OperatorSetIdProto.FromString(data[field.start : field.end]).domain
            for field in fields
            if field.number == OPSET_IMPORT
        )
    except Exception as error:  # protobuf's DecodeError
        raise ConfpressError(_not_onnx(data, name)) from error


def _parse(path: Path) -> ir.Model:
    """Parses all but the graph's large weights, which stay in the mapped file."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    skeleton, places = leave_out_weights(data, EXTERNAL_THRESHOLD_BYTES)
    proto = onnx.ModelProto.FromString(skeleton)
    mapped = []
    for index, place in places.items():
        tensor = proto.graph.initializer[index]
        dtype = ir.DataType(tensor.data_type)
        if dtype.bitwidth < _BITS_OF_A_BYTE:  # unpacked by the library, from the message
            tensor.raw_data = data[place.start : place.end]
            continue
        element = np.dtype(dtype.numpy()).newbyteorder("<")
        array = np.frombuffer(data, element, math.prod(tensor.dims), place.start)
        if array.nbytes != place.end - place.start:
            raise ValueError(
                f"initializer {tensor.name} has {place.end - place.start:,} bytes, and its shape "
                f"needs {array.nbytes:,}"
            )
        mapped.append(ir.Tensor(array.reshape(tensor.dims), dtype=dtype, name=tensor.name))
    model: ir.Model = ir.from_proto(proto)
    for weight in mapped:
        model.graph.initializers[str(weight.name)].const_value = weight
    return model


def _refuse_dangling(model: ir.Model, path: Path) -> None:
    """The parser takes a value that nothing gives for one that somebody else will give."""
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    for value in itertools.chain(model.graph.outputs, *(node.inputs for node in nodes)):
        if value is None or value.producer() or value.is_graph_input() or value.is_initializer():
            continue
        raise ConfpressError(
            f"{path} is not a valid ONNX model: it reads '{value.name}', which is no input, "
            "no weight and no output of a node."
        )


def _not_onnx(data: bytes | mmap.mmap, name: str) -> str:
    if data[4:8] == _ORT_FORMAT_MARK:
        return f"{name} is in ONNX Runtime's own format (.ort); give the ONNX model it was made of."
    if data[: len(_LFS_MARK)] == _LFS_MARK:
        return f"{name} is a Git LFS pointer, not the model; fetch it with 'git lfs pull'."
    return f"{name} is not an ONNX model."


def _write(model: ir.Model, path: Path, external_data: bool, alignment: int | None) -> None:
    if external_data:
        ir.save(
            model,
            path,
            format="protobuf",
            external_data=path.name + DATA_SUFFIX,
            size_threshold_bytes=EXTERNAL_THRESHOLD_BYTES,
            alignment=alignment,
            align_threshold=0,
        )
        return
    skeleton, weights = _without_weights(model)
    sizes = {index: tensor.nbytes for index, tensor in weights.items()}
    with path.open("wb") as file:
        for piece in put_in_weights(skeleton, sizes):
            if isinstance(piece, RawData):
                _write_bytes(weights[piece.index], file)
            else:
                file.write(piece)


def _write_bytes(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    if isinstance(tensor, (ir.Tensor, ir.ExternalTensor)):
        tensor.tofile(file)  # without a copy of the bytes in memory
    else:
        file.write(tensor.tobytes())


def _without_weights(model: ir.Model) -> tuple[bytes, dict[int, ir.TensorProtocol]]:
    """The serialised model without its large weights, and those by index of the initializer.

    What is small or in a subgraph is in the message, mapped or not: a mapped tensor would be
    written as a reference to the file that it came from.
    """
    changed: list[tuple[ir.Value, ir.TensorProtocol]] = []
    weights: dict[str, ir.TensorProtocol] = {}
    try:
        for value, tensor in _initializers(model):
            name, dtype = str(value.name), tensor.dtype
            if value.graph is model.graph and _is_weight(tensor):
                weights[name] = tensor
                shape = ir.Shape(tensor.shape.numpy())
                stand_in: ir.TensorProtocol = ir.ExternalTensor(
                    _STAND_IN, 0, tensor.nbytes, dtype, shape=shape, name=name
                )
            elif isinstance(tensor, ir.ExternalTensor):
                stand_in = ir.Tensor(tensor.numpy(), dtype=dtype, name=name)
            else:
                continue
            changed.append((value, tensor))
            value.const_value = stand_in
        proto = ir.to_proto(model)
    finally:
        for value, tensor in changed:
            value.const_value = tensor
    order = {}
    for index, initializer in enumerate(proto.graph.initializer):
        if initializer.name in weights:
            initializer.ClearField("external_data")
            initializer.ClearField("data_location")
            order[index] = weights[initializer.name]
    return proto.SerializeToString(), order


def _mapping(tensor: ir.TensorProtocol) -> mmap.mmap | None:
    """The mapped file that an array is a view of."""
    base = tensor.raw if isinstance(tensor, ir.Tensor) else None
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None


def _is_weight(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes > EXTERNAL_THRESHOLD_BYTES


def _initializers(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def _sort(model: ir.Model, path: Path) -> None:
    """Puts nodes behind what they read; ONNX Runtime runs files where they are not."""
    try:
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
    except ValueError as error:
        raise ConfpressError(
            f"{path} is not a valid ONNX model: nodes wait for each other's results."
        ) from error


def _bind_external_data(model: ir.Model, path: Path) -> None:
    """Check every external tensor, then tell it the folder that its location is relative to."""
    sizes: dict[str, int] = {}
    for _, tensor in _initializers(model):
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, path, sizes)
            tensor.base_dir = path.parent
    _embed_constants(model, path, sizes)


def _check_external(tensor: ir.ExternalTensor, path: Path, sizes: dict[str, int]) -> None:
    location = str(tensor.location)
    if location not in sizes:
        sizes[location] = _external_size(location, path)
    end = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
    if end > sizes[location]:
        raise ConfpressError(
            f"the external data {location} of {path} is cut off: {tensor.name} ends at byte "
            f"{end:,}, the file at {sizes[location]:,}."
        )


def _external_size(location: str, path: Path) -> int:
    """Size of an external data file, opened by nobody before its place is known to be allowed."""
    folder = path.parent
    target = (folder / location).resolve()
    if Path(location).is_absolute() or not target.is_relative_to(folder):
        raise ConfpressError(
            f"the external data '{location}' of {path} lies outside the model's folder, "
            "and is not read."
        )
    if not target.is_file():
        raise ConfpressError(f"the external data {folder / location} of {path} is missing.")
    return target.stat().st_size


def _embed_constants(model: ir.Model, path: Path, sizes: dict[str, int]) -> None:
    """Read Constant nodes that keep their tensor outside the file (rare) into memory."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            for name, attribute in list(node.attributes.items()):
                if attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
                    continue
                tensor = attribute.as_tensor()
                if isinstance(tensor, ir.ExternalTensor):
                    _check_external(tensor, path, sizes)
                    tensor.base_dir = path.parent
                    copy = ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
                    node.attributes[name] = ir.AttrTensor(name, copy)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
