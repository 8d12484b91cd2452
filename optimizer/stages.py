"""The stages that are passes, in their order; each is one entry of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..passes.lower.bfloat16_attention import BFloat16Attention
from ..passes.lower.cpu import LowerCpu
from ..passes.lower.cuda import LowerCuda
from ..passes.lower.float16 import Float16
from ..passes.lower.portable import LowerPortable
from ..passes.prune import RemovePruned
from ..passes.quantize import Quantize
from ..passes.rewrites.attention.key_positions import KeyPositions
from ..passes.rewrites.attention.packed_heads import PackedHeads
from ..passes.rewrites.attention.packed_parts import PackedParts
from ..passes.rewrites.attention.positions import Positions
from ..passes.rewrites.attention.relative_shift import RelativeShift
from ..passes.rewrites.attention.score_sizes import ScoreSizes
from ..passes.rewrites.convolution.frames_major import FramesMajor
from ..passes.rewrites.convolution.pointwise import PointwiseConvToMatMul
from ..passes.rewrites.layers.einsum import EinsumToMatMul
from ..passes.rewrites.layers.flat_linear import FlatLinear
from ..passes.rewrites.layers.fold_affine import FoldAffine
from ..passes.rewrites.layers.fold_scales import FoldScales
from ..passes.rewrites.layers.gemm import GemmToMatMul
from ..passes.rewrites.layers.keras_norm import KerasNorm
from ..passes.rewrites.layers.layer_norm import LayerNorm
from ..passes.rewrites.layers.linear_rows import LinearRows
from ..passes.rewrites.layers.merge_linears import MergeLinears
from ..passes.rewrites.layers.route_experts import RouteExperts
from ..passes.rewrites.masks.frame_mask import FrameMask
from ..passes.rewrites.masks.item_mask import ItemMask
from ..passes.rewrites.masks.length_mask import LengthMask
from ..passes.rewrites.masks.softmax_mask import SoftmaxMask
from ..passes.rewrites.simplify import Simplify
from ..passes.rewrites.versions import MinimiseVersions
from ..passes.seven_bits import SevenBits
from ..passes.smooth import Smooth
from ..passes.smooth_convolutions import SmoothConvolutions
from ..passes.structure import Recognise
from ..runtime.instructions import look_up_reach, needs_seven_bits
from .fusions import fusions
from .recipe.recipe import Recipe, Target
from .result.decisions import Findings

Pass = ir.passes.PassBase


@dataclass(frozen=True)
class Skip:
    """Why a stage does not run, in a sentence."""

    reason: str


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: As in the recipe, the report and errors.
        about: What it is for, in a line.
        passes: Makes its passes, or says why it does not run.
        lossless: Whether it must keep the outputs; the pipeline then proves that it did.
    """

    name: str
    about: str
    passes: Callable[[Recipe, Findings], Sequence[Pass] | Skip]
    lossless: bool = True


def _positions(recipe: Recipe, findings: Findings) -> Sequence[Pass] | Skip:
    mode = recipe.positions.mode
    if mode == "keep":
        return Skip("the recipe keeps the position tables")
    return [Positions(mode=mode, max_frames=findings.encoder_frames)]


def _smooth(recipe: Recipe, _: Findings) -> Sequence[Pass] | Skip:
    if recipe.why_no_int8 is not None:
        return Skip(recipe.why_no_int8)
    passes: list[Pass] = []
    if recipe.quantize.linear != "float32":
        passes.append(Smooth(strength=recipe.smooth.strength))
    if recipe.quantize.convolution != "float32":
        passes.append(SmoothConvolutions(strength=recipe.smooth.strength))
    return passes or Skip("the recipe keeps linear layers and convolutions in float32")


def _quantize(recipe: Recipe, findings: Findings) -> Sequence[Pass] | Skip:
    if recipe.why_no_int8 is not None:
        return Skip(recipe.why_no_int8)
    if recipe.lossless:
        return Skip("the recipe keeps every layer in float32")
    options = recipe.quantize
    # Without ranges the calibration has said why, once for all convolutions.
    convolution = options.convolution if findings.ranges else "float32"
    return [
        Quantize(
            linear=options.linear if recipe.formats.choice == "none" else "float32",
            convolution=convolution,
            exclude=options.exclude,
            ranges=findings.ranges,
        )
    ]


def _switched(
    section: str, make: Callable[[Recipe], Sequence[Pass]]
) -> Callable[[Recipe, Findings], Sequence[Pass] | Skip]:
    """The passes of a stage that its section of the recipe can switch off."""

    def passes(recipe: Recipe, _: Findings) -> Sequence[Pass] | Skip:
        if not getattr(recipe, section).enabled:
            return Skip("the recipe switches it off")
        return make(recipe)

    return passes


#: From the exported model to the last one in float32.
LOSSLESS_STAGES: tuple[Stage, ...] = (
    Stage(
        "simplify",
        "lift and fold constants, drop what is unused, write Keras' layers as others do",
        lambda recipe, _: [
            Simplify(fold_limit_bytes=recipe.simplify.fold_limit_bytes),
            KerasNorm(),
            FlatLinear(),
        ],
    ),
    Stage(
        "recognise",
        "find the Conformer's modules and name its layers",
        lambda recipe, _: [Recognise()],
    ),
    Stage(
        "prune",
        "remove units, heads, channels and modules that masks and zeros switch off",
        _switched("prune", lambda recipe: [RemovePruned()]),
    ),
    Stage(
        "layer_norm",
        "write layer normalisation as one operator",
        _switched("layer_norm", lambda recipe: [LayerNorm()]),
    ),
    Stage("positions", "compute position tables instead of storing them", _positions),
    Stage(
        "pointwise",
        "write pointwise convolutions, Gemm and Einsum as MatMul",
        _switched(
            "pointwise",
            lambda recipe: [
                PointwiseConvToMatMul(),
                GemmToMatMul(),
                LinearRows(),
                EinsumToMatMul(),
            ],
        ),
    ),
    Stage(
        "relative_shift",
        "shift position scores without copying them, add to the keys what is not shifted",
        _switched("relative_shift", lambda recipe: [ScoreSizes(), RelativeShift(), KeyPositions()]),
    ),
    Stage(
        "softmax_mask",
        "mask rows of a product instead of probabilities, all items of a batch at once, by length",
        _switched("softmax_mask", lambda recipe: [LengthMask(), ItemMask(), SoftmaxMask()]),
    ),
    Stage(
        "subsampling",
        "lay out and mask what the subsampling leaves without copies",
        _switched("subsampling", lambda recipe: [FrameMask(), FramesMajor()]),
    ),
    Stage(
        "fold_scales",
        "fold constant factors into the weights before them, or behind where each feature has one",
        _switched("fold_scales", lambda recipe: [FoldScales(), FoldAffine()]),
    ),
    Stage(
        "route",
        "compute of each frame the expert that its gate takes, and no other",
        _switched("route", lambda recipe: [RouteExperts()]),
    ),
    Stage(
        "merge_linears",
        "compute linear layers of one input together",
        _switched(
            "merge_linears",
            lambda recipe: [
                PackedHeads(),
                PackedParts(),
                MergeLinears(most=recipe.merge_linears.most),
            ],
        ),
    ),
    Stage("smooth", "move outlier channels from activations into weights", _smooth),
)

#: From float32 to the interchange model.
QUANTIZE = Stage("quantize", "insert the QDQ nodes of int8 layers", _quantize, lossless=False)

#: What the interchange model asks of a runtime.
VERSIONS = Stage(
    "versions",
    "state the lowest versions that serve the model",
    lambda recipe, _: [MinimiseVersions()],
)


def _lower(
    target: Target, first: Callable[[Recipe], Sequence[Pass]]
) -> Callable[[Recipe, Findings], Sequence[Pass]]:
    """The lowering of layers, the fusions that are asked for and gain, and the versions."""

    def passes(recipe: Recipe, findings: Findings) -> Sequence[Pass]:
        without = {*recipe.lower.without, *findings.slower.get(target, ())}
        reach = look_up_reach(recipe.lower.instructions)
        last = _formats_of_fused(target, recipe)
        return [*first(recipe), *fusions(target, without, reach), *last, MinimiseVersions()]

    return passes


def _formats_of_fused(target: Target, recipe: Recipe) -> Sequence[Pass]:
    rounded = target == "cpu" and recipe.lower.attention == "bfloat16"
    return [BFloat16Attention()] if rounded else []


def _portable(recipe: Recipe) -> Sequence[Pass]:
    seven = needs_seven_bits(recipe.lower.instructions)
    return [SevenBits(), LowerPortable()] if seven else [LowerPortable()]


def _cpu(recipe: Recipe) -> Sequence[Pass]:
    # Our kernels are exact with eight bits, and faster with seven: that is for users to choose.
    lower = LowerCpu(reach=look_up_reach(recipe.lower.instructions))
    return [SevenBits(), lower] if recipe.lower.instructions == "avx2" else [lower]


def _cuda(recipe: Recipe, findings: Findings) -> Sequence[Pass]:
    keep = findings.float32_parts or ()
    return [
        LowerCuda(sparse=recipe.cuda.sparse),
        Float16(keep=keep),
        MinimiseVersions(widened=True),
    ]


#: To a target's model: from the interchange model; for `cuda`, from what it was before `quantize`.
LOWER: Mapping[Target, Stage] = {
    "portable": Stage(
        "lower.portable",
        "turn QDQ nodes into operators that stock ONNX Runtime runs fast",
        _lower("portable", _portable),
        lossless=False,
    ),
    "cpu": Stage(
        "lower.cpu",
        "turn QDQ nodes, attention, convolution modules and norms into operators of our kernels",
        _lower("cpu", _cpu),
        lossless=False,
    ),
    "cuda": Stage(
        "lower.cuda",
        "turn low-bit layers into operators of the CUDA provider, and the rest to float16",
        _cuda,
        lossless=False,
    ),
}


def preparation(recipe: Recipe) -> Sequence[Pass]:
    """What comes before a pass that speaks of layers, where it is run alone."""
    return [Simplify(fold_limit_bytes=recipe.simplify.fold_limit_bytes), Recognise()]


def passes_of(
    stage: Stage, recipe: Recipe | None = None, findings: Findings | None = None
) -> Sequence[Pass]:
    """The passes of a stage run alone; none where the recipe skips it."""
    passes = stage.passes(recipe or Recipe(), findings or Findings())
    return () if isinstance(passes, Skip) else passes
