"""The front end that a small JSON file beside a model describes.

The defaults are those of NeMo's Conformer recipes; `log_mel` computes the features.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...passes.errors import ConfpressError
from .log_mel import FloatArray, Framing, Normalization, frame_count, log_mel

FILE_NAME = "frontend.json"


class FrontEnd(BaseModel):
    """How audio becomes the features that a model takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(default=16000, gt=0, description="samples per second")
    preemphasis: float = Field(default=0.97, ge=0.0, lt=1.0, description="0 switches it off")
    n_fft: int = Field(default=512, gt=1, description="points of the Fourier transform")
    window_length: int = Field(default=400, gt=1, description="samples, symmetric Hann window")
    hop_length: int = Field(default=160, gt=0, description="samples between two frames")
    n_mels: int = Field(default=80, gt=0, description="mel filters, Slaney scale and norm")
    f_min: float = Field(default=0.0, ge=0.0, description="lowest frequency in Hz")
    f_max: float = Field(default=8000.0, gt=0.0, description="highest frequency in Hz")
    log_offset: float = Field(default=2.0**-24, gt=0.0, description="log(x + log_offset)")
    normalization: Normalization = Field(
        default="per_feature", description="mean and standard deviation over the utterance"
    )
    std_epsilon: float = Field(default=1e-5, ge=0.0, description="added to the deviation")
    framing: Framing = Field(
        default="nemo",
        description="`nemo`, or `sherpa-onnx`: as sherpa-onnx computes the features of NeMo's "
        "models, half a hop later",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> FrontEnd:
        if self.window_length > self.n_fft:
            raise ValueError("window_length must not exceed n_fft")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError("f_min < f_max <= sample_rate / 2 must hold")
        return self

    @property
    def seconds_per_frame(self) -> float:
        """Seconds between two frames."""
        return self.hop_length / self.sample_rate

    def frames(self, samples: int) -> int:
        """Number of frames of an utterance of `samples` samples."""
        return frame_count(samples, self.hop_length, self.framing)

    def features(self, audio: FloatArray) -> FloatArray:
        """Compute normalised log-mel features.

        Args:
            audio: float32 [samples], mono, at `sample_rate`.

        Returns:
            float32 [n_mels, frames], frames as `frames` says.

        Raises:
            ConfpressError: `audio` is empty or not one-dimensional.
        """
        return log_mel(audio, **self.model_dump())

    def save(self, path: Path) -> None:
        """Write the configuration as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> FrontEnd:
        """Read a configuration.

        Raises:
            ConfpressError: the file cannot be read, or a key or value is not allowed.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfpressError(f"cannot read the front end {path}: {error}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfpressError(
                f"{path}: {key}: {first['msg']}; allowed keys: {', '.join(cls.model_fields)}."
            ) from error

    @classmethod
    def beside(cls, model: Path) -> FrontEnd:
        """The front end described beside a model file, or the default where there is none.

        `<stem>.frontend.json` goes before `frontend.json`.
        """
        for candidate in (model.with_name(f"{model.stem}.{FILE_NAME}"), model.with_name(FILE_NAME)):
            if candidate.is_file():
                return cls.load(candidate)
        return cls()
