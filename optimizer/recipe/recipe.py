"""The recipe: what every stage of the pipeline shall do, as TOML checked by pydantic.

One section a stage. The sections of passes repeat the fields of the pass (a test compares
them), in the units of a person: seconds, not frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ...passes.errors import ConfpressError
from .errors import did_you_mean
from .presets import DEFAULT, PRESETS
from .toml_file import check, read_toml

Target = Literal["portable", "cpu", "cuda"]
Fusion = Literal[
    "subsampling",
    "attention",
    "convolution",
    "norms",
    "swoosh",
    "masked_codes",
    "decoded_convolutions",
    "channel_copies",
    "depthwise",
    "zero_masks",
    "mask_channel",
    "norm_sums",
    "query_blocks",
]
Format = Literal["int8", "float32"]
AttentionFormat = Literal["float32", "bfloat16"]
SparsityPattern = Literal[
    "none", "50%", "75%", "87.5%", "8:16", "4:16", "2:16", "32:64", "16:64", "8:64", "2:4", "1:4"
]
SparsityCounts = Literal["equal", "energy"]
Instructions = Literal["here", "any", "avx2", "avx512vbmi"]


class Section(BaseModel):
    """A section of the recipe: no unknown keys, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SimplifySection(Section):
    """Lifts constants to initializers, folds constant expressions, removes what is unused."""

    fold_limit_bytes: int = Field(
        default=256 * 2**20, ge=0, description="constants larger than this are not folded"
    )


class PositionsSection(Section):
    """The table of relative positions, which many exports store as megabytes of sines."""

    mode: Literal["compute", "trim", "keep"] = Field(
        default="compute",
        description="`compute` it in the graph (no limit), `trim` it to `max_seconds`, `keep` it",
    )
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="longest audio the model must take; needed by `trim`, and only there",
    )

    @model_validator(mode="after")
    def _length_belongs_to_trim(self) -> PositionsSection:
        if (self.mode == "trim") != (self.max_seconds is not None):
            raise ValueError('max_seconds goes with mode = "trim", and with no other')
        return self


class Switch(Section):
    """A stage that is on or off."""

    enabled: bool = Field(default=True, description="whether the stage runs")


class PruneSection(Switch):
    """Removes units, heads, channels and modules that masks and zero weights switch off."""


class LayerNormSection(Switch):
    """Writes layer normalisation, which older opsets spell out, as one operator."""


class PointwiseSection(Switch):
    """Writes convolutions of kernel size 1, Gemm and Einsum as MatMul, which has fast kernels."""


class RelativeShiftSection(Switch):
    """Shifts the scores of relative positions without padding and copying them."""


class SoftmaxMaskSection(Switch):
    """Moves masks behind a Softmax to its much smaller product with the values.

    A mask of some items of a batch becomes one of all.
    """


class SubsamplingSection(Switch):
    """Lays out and masks what the subsampling's convolutions leave without copies of it."""


class FoldScalesSection(Switch):
    """Folds constant factors (one half, roots of sizes) into the weights before them.

    Those of every feature, with shifts, go into the linear layers behind them.
    """


class RouteSection(Switch):
    """Computes of each frame the expert that its gate takes, where a model has experts."""


class MergeLinearsSection(Switch):
    """Computes linear layers that read the same value (q, k, v of attention) as one."""

    most: int = Field(default=4, ge=2, description="larger groups stay apart")


class SmoothSection(Section):
    """Balances channels between norms and linear layers, and between convolutions, for int8."""

    strength: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="0 leaves activations as they are, 1 moves all their outliers into weights",
    )


class SparsifySection(Section):
    """Zeros in weights, the same number in every few columns, for target `cpu` to skip.

    In those of linear layers and of the subsampling's convolutions over several channels.
    Speed only: a model that has not learned with them (``confpress finetune``) loses its words.
    """

    pattern: SparsityPattern = Field(
        default="none",
        description="`4:16` keeps 4 of every 16 weights of a row; a share of zeros is the pattern "
        "that suits `lower.instructions`: `75%` is `16:64` for `avx512vbmi`, else `4:16`",
    )
    least_energy: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="layers that would keep a smaller share of their weights' energy stay dense",
    )
    counts: SparsityCounts = Field(
        default="equal",
        description="`equal` keeps as many weights in every few columns; `energy` as many in a "
        "layer, and more of them in columns whose weights are larger",
    )
    repair: bool = Field(
        default=False,
        description="choose the zeros of linear layers, and change the weights that stay, so that "
        "outputs change least on calibration speech",
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="patterns of layer ids that stay dense"
    )

    @property
    def repairs(self) -> bool:
        """Whether calibration speech is needed."""
        return self.repair and self.pattern != "none"


class CalibrationSection(Section):
    """Which speech is run through the model to find the ranges of static int8."""

    subset: str | None = Field(
        default=None, description="take only files whose path contains this text"
    )
    max_seconds: float = Field(
        default=600.0, gt=0, description="stop after this much audio, drawn over all files"
    )
    method: Literal["minmax", "percentile", "mse"] = Field(
        default="percentile",
        description="range of a constant scale: everything seen, all but the outermost values, or "
        "what makes the squared error least",
    )
    percentile: float = Field(
        default=99.99, gt=50, le=100, description="share of values kept by `percentile`, in percent"
    )


class QuantizeSection(Section):
    """The number format of weights and activations, layer by layer."""

    linear: Format = Field(
        default="int8",
        description="linear layers; `int8` has a weight scale per output channel and an "
        "activation scale per frame, found at run time",
    )
    convolution: Format = Field(
        default="int8",
        description="convolutions of the subsampling; `int8` has constant activation ranges and "
        "needs calibration speech",
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        description="patterns of layer ids that stay float32, as `confpress inspect` prints them: "
        '`["encoder.layers.0.*"]`',
    )


class FormatsSection(Section):
    """A number format for each linear layer, chosen on calibration speech."""

    choice: Literal["none", "mofq4", "mofq8", "mixed", "plan"] = Field(
        default="none",
        description="`none`: that of `quantize.linear` for all. `mofq4`: int4 or FP4 weights, "
        "whichever errs less. `mofq8`: weights and frames int8 or FP8. `mixed`: 2 to 32 bits, what "
        "changes the scores least within the limits. `plan`: as the file `plan` says",
    )
    max_size: float | None = Field(
        default=None,
        gt=0,
        description="megabytes (10^6 bytes) of the file of target portable; for `mixed`",
    )
    max_latency: float | None = Field(
        default=None,
        gt=0,
        description="milliseconds of all linear layers for 5 s of speech on target cpu, one "
        "thread, measured on this machine; for `mixed`",
    )
    max_error: float | None = Field(
        default=None,
        gt=0,
        description="change of the scores (KL a frame, summed over layers) within which the file "
        "becomes as small as it can; for `mixed`",
    )
    max_wer_increase: float | None = Field(
        default=None,
        ge=0,
        description="points of word error rate that the smallest file may lose on the speech of "
        "`--selection` (0.5 is from 5.0 % to 5.5 %); for `mixed`, alone or with `max_latency`",
    )
    selection_subset: str | None = Field(
        default=None,
        description="take only utterances of `--selection` whose path contains this text",
    )
    plan: str | None = Field(
        default=None, description="a JSON file, as `confpress quantize --save-plan` writes it"
    )
    integer_frames: bool = Field(
        default=True,
        description="whether frames of layers with codes are int8, so that target `cpu` computes "
        "them in integers; otherwise codes are storage",
    )
    repair: Literal["none", "gptq", "bias", "both"] = Field(
        default="none",
        description="`gptq` makes rounding errors good in the rows that follow, `bias` keeps the "
        "mean of outputs",
    )

    @model_validator(mode="after")
    def _options_belong_to_choices(self) -> FormatsSection:
        sizes = (self.max_size, self.max_error)
        limits = (*sizes, self.max_latency, self.max_wer_increase)
        if (self.choice == "mixed") != any(limit is not None for limit in limits):
            raise ValueError(
                'choice = "mixed" needs max_size, max_latency, max_error or max_wer_increase, and '
                "no other takes them"
            )
        if self.max_wer_increase is not None and any(limit is not None for limit in sizes):
            raise ValueError("max_wer_increase goes with max_latency, and with no other limit")
        if (self.choice == "plan") != (self.plan is not None):
            raise ValueError('plan goes with choice = "plan", and with no other')
        if self.choice == "none" and self.repair != "none":
            raise ValueError('repair needs a choice of formats, such as "mofq4"')
        return self


class LowerSection(Section):
    """What the deployable models are made for."""

    targets: tuple[Target, ...] = Field(
        default=("portable", "cpu"),
        min_length=1,
        description="`portable`: any stock ONNX Runtime. `cpu`: with Confpress' kernel library, "
        "and still correct without it. `cuda`: float16 for onnxruntime-gpu",
    )
    without: tuple[Fusion, ...] = Field(
        default=(),
        description="fusions that are left out: `subsampling`, `attention`, `convolution`, "
        "`norms` and `swoosh` of `cpu`, `norm_sums` and `query_blocks` of `portable`, "
        "`masked_codes`, `decoded_convolutions`, `channel_copies`, `depthwise`, `zero_masks` and "
        "`mask_channel` of both; `cuda` has none",
    )
    instructions: Instructions = Field(
        default="here",
        description="where models will run: `avx512vbmi` (Ice Lake, Zen 4 and newer) has its own "
        "best layout of zeros for `cpu`; on `avx2` (x86 without VNNI) int8 weights get 7 bits, as "
        "ONNX Runtime's sums saturate there and our kernels are faster (`here` does so for "
        "`portable` alone); `any` other processor, or one such as `here`",
    )
    attention: AttentionFormat = Field(
        default="float32",
        description="what the products of attention multiply on `cpu`: `bfloat16` is for "
        "processors with AMX (Sapphire Rapids and newer), gives the same numbers on others and no "
        "speed there",
    )
    measure: bool = Field(
        default=True,
        description="whether a target's model is timed without each fusion, and fusions without "
        "which it is faster on this machine are left out",
    )

    @model_validator(mode="after")
    def _each_once(self) -> LowerSection:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("each target may be named once")
        return self


class CudaSection(Section):
    """Target `cuda`: float16, and the low-bit weights that `formats` chooses; no int8 frames."""

    least_db: float = Field(
        default=40.0,
        ge=0,
        description="signal over error of the outputs, in dB, that float16 must keep; as many "
        "blocks stay float32 as that needs, worst first",
    )
    sparse: bool = Field(
        default=False,
        description="whether layers that keep at most 8 of every 64 weights, or 2 of every 4, "
        "become `SparseLinearHalf` of the kernel library, which nobody has timed on a GPU",
    )


class ProofSection(Section):
    """The check that outputs follow the length of the audio, and stay in every lossless stage."""

    enabled: bool = Field(default=True, description="whether outputs are compared")
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="largest difference allowed, relative to the largest absolute output",
    )
    frames: tuple[PositiveInt, PositiveInt] = Field(
        default=(331, 520), description="two lengths of the features, in frames"
    )
    batches: tuple[PositiveInt, PositiveInt] = Field(default=(1, 3), description="two batch sizes")


class ValidationSection(Section):
    """The comparison of the results with the original on speech."""

    subset: str | None = Field(
        default=None, description="take only utterances whose path contains this text"
    )
    max_utterances: int | None = Field(
        default=None, gt=0, description="take only the first so many utterances"
    )
    max_wer_increase: float | None = Field(
        default=None,
        ge=0,
        description="points of word error rate that a result may lose (0.5 is from 5.0 % to 5.5 %)",
    )
    gate_each_stage: bool = Field(
        default=False,
        description="whether the model is judged after every lossy stage, so that the one to "
        "blame is named; needs `max_wer_increase`",
    )

    @model_validator(mode="after")
    def _gates_have_a_limit(self) -> ValidationSection:
        if self.gate_each_stage and self.max_wer_increase is None:
            raise ValueError("gate_each_stage needs max_wer_increase")
        return self


class BenchSection(Section):
    """The measurement of latency, original and results in turn."""

    enabled: bool = Field(default=True, description="whether latency is measured")
    seconds: tuple[PositiveFloat, ...] = Field(
        default=(10.0,), min_length=1, description="durations of the audio"
    )
    batches: tuple[PositiveInt, ...] = Field(default=(1,), min_length=1, description="batch sizes")
    threads: tuple[PositiveInt, ...] = Field(
        default=(1,), min_length=1, description="numbers of threads of ONNX Runtime"
    )
    rounds: int = Field(default=20, ge=3, description="timed runs of each model in each case")
    memory: bool = Field(
        default=True,
        description="whether load time and memory are measured, in a process for each model",
    )


class Recipe(Section):
    """Everything that `confpress optimize` can be told."""

    simplify: SimplifySection = SimplifySection()
    prune: PruneSection = PruneSection()
    positions: PositionsSection = PositionsSection()
    layer_norm: LayerNormSection = LayerNormSection()
    pointwise: PointwiseSection = PointwiseSection()
    relative_shift: RelativeShiftSection = RelativeShiftSection()
    softmax_mask: SoftmaxMaskSection = SoftmaxMaskSection()
    subsampling: SubsamplingSection = SubsamplingSection()
    fold_scales: FoldScalesSection = FoldScalesSection()
    route: RouteSection = RouteSection()
    merge_linears: MergeLinearsSection = MergeLinearsSection()
    smooth: SmoothSection = SmoothSection()
    sparsify: SparsifySection = SparsifySection()
    calibration: CalibrationSection = CalibrationSection()
    quantize: QuantizeSection = QuantizeSection()
    formats: FormatsSection = FormatsSection()
    lower: LowerSection = LowerSection()
    cuda: CudaSection = CudaSection()
    proof: ProofSection = ProofSection()
    validation: ValidationSection = ValidationSection()
    bench: BenchSection = BenchSection()

    @property
    def lossless(self) -> bool:
        """Whether the recipe keeps every layer in float32."""
        formats = {self.quantize.linear, self.quantize.convolution}
        return formats == {"float32"} and self.formats.choice == "none"

    @property
    def why_no_int8(self) -> str | None:
        """Why `quantize` has nothing to do for the targets, in a sentence; None if it has."""
        if self.lower.targets == ("cuda",):
            return "target cuda, the only one, multiplies in float16"
        return None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, under the names that TOML uses."""
        return self.model_dump(mode="json")

    def replace(self, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
        """A recipe with some options set: ``{"bench": {"threads": 2}}``.

        Raises:
            ConfpressError: a section, key or value is not allowed.
        """
        return parse(merge(self.to_dict(), changes), source="the options")


def preset(name: str) -> Recipe:
    """The recipe of a preset.

    Raises:
        ConfpressError: there is no preset of this name.
    """
    return parse(_options(name), source=f"preset {name}")


def load_recipe(path: Path | None = None, preset_name: str = DEFAULT) -> Recipe:
    """Reads a TOML recipe on top of a preset.

    Args:
        path: The file; None takes the preset as it is.
        preset_name: What the file's keys are set on top of.

    Raises:
        ConfpressError: the file cannot be read, is not TOML, or says something not allowed; the
            sentence names the line, the key and what is allowed.
    """
    base = _options(preset_name)
    if path is None:
        return parse(base, source=f"preset {preset_name}")
    said, text = read_toml(path)
    return parse(merge(base, said), source=str(path), text=text)


def parse(data: Mapping[str, Any], *, source: str, text: str = "") -> Recipe:
    """Checks plain data.

    Args:
        data: Sections and keys, as TOML gives them.
        source: What the data came from, for the error.
        text: The TOML text, to find the line of an error.

    Raises:
        ConfpressError: a section, key or value is not allowed.
    """
    return check(Recipe, data, source=source, text=text)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` set, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _options(preset_name: str) -> Mapping[str, Mapping[str, Any]]:
    if preset_name not in PRESETS:
        raise ConfpressError(
            f"there is no preset '{preset_name}'; {did_you_mean(preset_name, list(PRESETS))}"
            f"there are: {', '.join(PRESETS)}."
        )
    return PRESETS[preset_name].options
