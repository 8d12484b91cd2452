"""``decisions.json``: what a run measured and built on, so that another one builds the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...passes.errors import ConfpressError
from ...passes.format_plan import FormatPlan
from ...passes.quantize import Range
from ...runtime.record import Record, read_record
from ...runtime.speech.manifest import Utterance
from ..recipe.recipe import Fusion, Target

DECISIONS = "decisions.json"


class Findings(Record):
    """What a run measures and its passes take as arguments; all of it is plain data.

    Whatever else enters a model follows from the model, the recipe and the versions.
    """

    encoder_frames: int | None = Field(
        default=None,
        description="frames after the subsampling of the longest audio that the recipe names",
    )
    ranges: Mapping[str, Range] = Field(
        default={}, description="calibrated range of activations, by value name"
    )
    calibrated_on: tuple[str, ...] = Field(
        default=(),
        description="hash of the audio of every recording that set the ranges, the formats or the "
        "parts in float32",
    )
    selected_on: tuple[str, ...] = Field(
        default=(),
        description="hash of the audio of every recording whose words chose the formats",
    )
    formats: FormatPlan | None = Field(
        default=None,
        description="number format of every linear layer, as `--format-plan` takes it; none where "
        "all have the same",
    )
    slower: Mapping[Target, tuple[Fusion, ...]] = Field(
        default={}, description="fusions without which a target's model is faster, by target"
    )
    float32_parts: tuple[str, ...] | None = Field(
        default=None,
        description="layers and blocks that stay float32 on target `cuda`; none where it was not "
        "made",
    )


class Decisions(Record):
    """The measured choices of a run; `confpress optimize --decisions FILE` takes them over."""

    schema_version: Literal[1] = Field(default=1, description="version of this format")
    model: str = Field(description="hash of the model's file and external data they hold for")
    findings: Findings = Field(description="what was measured")

    def write(self, folder: Path) -> None:
        """Writes `decisions.json` into a folder."""
        text = self.model_dump_json(indent=2) + "\n"
        (folder / DECISIONS).write_text(text, encoding="utf-8")


def read_decisions(path: Path, model: str) -> Findings:
    """What an earlier run measured.

    Args:
        path: The `decisions.json` of its result.
        model: `model_digest` of the model that is optimised now.

    Raises:
        ConfpressError: the file cannot be read, or was written for another model.
    """
    decisions = _read(path)
    if decisions.model != model:
        raise ConfpressError(
            f"{path} was decided for another model; run without --decisions, or give the model "
            "that it belongs to."
        )
    return decisions.findings


def refuse_other_formats(
    findings: Findings, origin: Path, content: Mapping[Path, str] | None
) -> None:
    """Refuses to give layers the formats of an earlier run by other speech than that run's.

    Scales and repairs are found on the speech again, so the models would differ.

    Args:
        findings: What the earlier run measured.
        origin: The file that says so.
        content: Hash of the calibration speech's audio, by path; None without speech.

    Raises:
        ConfpressError: the run chose no formats, or there is no speech, or another.
    """
    if findings.formats is None:
        raise ConfpressError(
            f"{origin} holds no formats, but the recipe gives every layer its own; give the "
            "decisions of a run with such a recipe, or none."
        )
    if content is None:
        raise ConfpressError(
            f"{origin} holds the formats of layers, but scales and repairs are found on speech; "
            "give the same --calibration."
        )
    refuse_other_speech(findings, origin, content, "formats")


def refuse_other_speech(
    findings: Findings, origin: Path, content: Mapping[Path, str] | None, what: str
) -> None:
    """Refuses to find something again by other speech than an earlier run's.

    Args:
        findings: What the earlier run measured.
        origin: The file that says so.
        content: Hash of the calibration speech's audio, by path; None without speech.
        what: What is found again, in a word.

    Raises:
        ConfpressError: the speech is another.
    """
    if content is None or set(content.values()) != set(findings.calibrated_on):
        raise ConfpressError(
            f"the {what} of {origin} were chosen on other speech than --calibration names, so "
            "the models would not be the same."
        )


def refuse_calibrated(
    findings: Findings, origin: Path, utterances: Sequence[Utterance], content: Mapping[Path, str]
) -> None:
    """Refuses to judge a model by speech that set its ranges or formats.

    Args:
        findings: What was measured for the model.
        origin: The file that says so.
        utterances: The speech to judge by.
        content: Hash of its audio, by path.

    Raises:
        ConfpressError: a recording is among those that set ranges.
    """
    used = {*findings.calibrated_on, *findings.selected_on}
    for utterance in utterances:
        if content[utterance.path] in used:
            raise ConfpressError(
                f"the audio of {utterance.path} set ranges or formats of the model (by {origin}), "
                "so it cannot judge it; give other speech."
            )


def refuse_calibrated_model(
    model: Path, utterances: Sequence[Utterance], content: Mapping[Path, str]
) -> None:
    """`refuse_calibrated` for a model of a result folder; other models are not refused.

    Args:
        model: The model's file, in a result folder or in a target's folder there.
        utterances: The speech to judge by.
        content: Hash of its audio, by path.

    Raises:
        ConfpressError: a recording is among those that set ranges.
    """
    for folder in (model.parent, model.parent.parent):
        path = folder / DECISIONS
        try:
            findings = _read(path).findings
        except ConfpressError:  # none there, or a file of others
            continue
        refuse_calibrated(findings, path, utterances, content)


def _read(path: Path) -> Decisions:
    return read_record(Decisions, path, f"{DECISIONS} of a result")
