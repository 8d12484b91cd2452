"""Train the demo's Conformer: AN4's training part and synthetic speech.

    python examples/train_demo.py --an4 DATA/an4 --work WORK --minutes 85

Features are computed once into WORK; the run resumes from WORK/ckpt where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from confpress.models.config import ConformerConfig
from confpress.models.ctc import ConformerCTC
from confpress.models.training.augment import (
    SpecAugment,
    add_noise,
    add_reverberation,
    change_speed,
)
from confpress.models.training.data import Corpus, Example
from confpress.models.training.loop import EpochResult, Progress, Trainer
from confpress.models.training.parallel import Workers, run_workers
from confpress.models.training.recognition import Recognition, RecognitionConfig
from confpress.models.training.sentences import is_plain, sentence
from confpress.models.training.synthesise import (
    CALIBRATION_VARIANTS,
    HELD_OUT_VARIANTS,
    TRAINING_VARIANTS,
    random_voice,
    speak,
)
from confpress.models.training.vocabulary import CharacterVocabulary
from confpress.runtime.speech import FrontEnd, Utterance, load_utterances, read_audio

FloatArray = npt.NDArray[np.float32]
Item = tuple[FloatArray, str]

FRONT_END = FrontEnd()
VOCABULARY = CharacterVocabulary()
VALIDATION_SPEAKERS = ("fejs", "fsrb", "mjes", "mtcv")
SPEEDS = (1.0, 0.9, 1.1, 0.95, 1.05, 0.85, 1.15)
# Seeds of sentences that training leaves out: watched after every epoch, the demo's clips, and
# the clips that calibrate it.
WATCHED_SEED, CLIP_SEED, CALIBRATION_SEED = 2024, 1997, 2003
LOG = logging.getLogger("train_demo")


def held_out_sentences(seed: int, shortest: int, longest: int, count: int = 12) -> list[str]:
    """Sentences with so many letters; the training speech leaves them out."""
    random = Random(seed)
    chosen: list[str] = []
    while len(chosen) < count:
        text = sentence(random)
        if shortest <= len(text.replace(" ", "")) <= longest and text not in chosen:
            chosen.append(text)
    return chosen


def watched_sentences() -> list[str]:
    """Sentences whose error rate is logged after every epoch."""
    return held_out_sentences(WATCHED_SEED, 14, 40)


def clip_sentences() -> list[str]:
    """Sentences of the demo's clips."""
    return held_out_sentences(CLIP_SEED, 26, 48)


def watched_audio() -> Iterator[Item]:
    """Held-out voices at any speed."""
    random = Random(WATCHED_SEED)
    for number, text in enumerate(watched_sentences()):
        voice = random_voice(random, [HELD_OUT_VARIANTS[number % len(HELD_OUT_VARIANTS)]])
        yield speak(text, voice), text


def calibration_sentences() -> list[str]:
    """Sentences of the clips that calibrate the demo."""
    return held_out_sentences(CALIBRATION_SEED, 26, 48, 8)


def clip_audio() -> Iterator[Item]:
    """The demo's clips: held-out voices at the pace of clear speech."""
    return _clear_speech(CLIP_SEED, clip_sentences(), HELD_OUT_VARIANTS)


def calibration_audio() -> Iterator[Item]:
    """The clips that calibrate: other held-out voices."""
    return _clear_speech(CALIBRATION_SEED, calibration_sentences(), CALIBRATION_VARIANTS)


def _clear_speech(seed: int, texts: list[str], variants: tuple[str, ...]) -> Iterator[Item]:
    random = Random(seed)
    for number, text in enumerate(texts):
        voice = random_voice(random, [variants[number % len(variants)]])
        yield speak(text, replace(voice, speed=random.randint(125, 155))), text


def roughen(audio: FloatArray, random: np.random.Generator) -> FloatArray:
    """Some reverberation and some noise."""
    if random.random() < 0.3:
        audio = add_reverberation(audio, random.uniform(0.1, 0.5), FRONT_END.sample_rate, random)
    if random.random() < 0.7:
        audio = add_noise(audio, random.uniform(8.0, 40.0), random)
    return audio


def synthetic_audio(count: int, seed: int) -> Iterator[Item]:
    """Random sentences by random training voices."""
    random, noise = Random(seed), np.random.default_rng(seed)
    forbidden = {*watched_sentences(), *clip_sentences(), *calibration_sentences()}
    for _ in range(count):
        text = sentence(random)
        while text in forbidden:
            text = sentence(random)
        yield roughen(speak(text, random_voice(random, TRAINING_VARIANTS)), noise), text


def an4_audio(utterances: list[Utterance], speed: float, seed: int) -> Iterator[Item]:
    """AN4 at another speed; the original speed stays as recorded."""
    noise = np.random.default_rng(seed)
    for utterance in utterances:
        audio = read_audio(utterance.path, FRONT_END.sample_rate)
        if speed != 1.0:
            audio = change_speed(audio, speed)
            if noise.random() < 0.3:
                audio = add_noise(audio, noise.uniform(15.0, 40.0), noise)
        yield audio, utterance.text or ""


def store(path: Path, items: Iterator[Item]) -> None:
    """Write features, float16 [frames, bands], and texts."""
    features, index = [], []
    for audio, text in items:
        features.append(FRONT_END.features(audio).T.astype(np.float16))
        index.append({"text": text, "frames": len(features[-1])})
    np.save(path.with_suffix(".npy"), np.concatenate(features))
    path.with_suffix(".json").write_text(json.dumps(index), encoding="utf-8")


def stored(path: Path) -> list[Example]:
    """Read what `store` wrote."""
    features = np.load(path.with_suffix(".npy"))
    examples, start = [], 0
    for entry in json.loads(path.with_suffix(".json").read_text(encoding="utf-8")):
        end = start + entry["frames"]
        text = tuple(VOCABULARY.encode(entry["text"]))
        examples.append(Example(features[start:end].T, text))
        start = end
    return examples


def prepare(an4: Path, folder: Path, synthetic: int, workers: int) -> None:
    """Compute and store every part's features, unless they are there."""
    everything = load_utterances(an4, "/an4_clstk/")
    held = [u for u in everything if u.speaker in VALIDATION_SPEAKERS]
    used = [u for u in everything if u.speaker not in VALIDATION_SPEAKERS]
    parts: dict[str, tuple[Callable[..., Iterator[Item]], tuple[object, ...]]] = {
        "validation": (an4_audio, (held, 1.0, 0)),
        "watched": (watched_audio, ()),
    }
    for number, speed in enumerate(SPEEDS):
        parts[f"an4_{round(100 * speed)}"] = (an4_audio, (used, speed, number))
    for number in range(8):
        parts[f"synthetic_{number}"] = (synthetic_audio, (synthetic // 8, 100 + number))
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_prepare_part, [(folder / n, *part) for n, part in parts.items()]))


def _prepare_part(part: tuple[Path, Callable[..., Iterator[Item]], tuple[object, ...]]) -> None:
    path, make, arguments = part
    if not path.with_suffix(".json").is_file():
        store(path, make(*arguments))


def _plain(example: Example) -> bool:
    return is_plain(VOCABULARY.decode(list(example.targets)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--an4", type=Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--work", type=Path, required=True, help="features and checkpoints")
    parser.add_argument("--minutes", type=float, default=85.0)
    parser.add_argument("--synthetic", type=int, default=6400, help="synthetic utterances")
    parser.add_argument("--an4-passes", type=float, default=2.0, help="per epoch, speeds drawn")
    parser.add_argument("--plain-passes", type=float, default=0.25, help="plain sentences")
    parser.add_argument("--other-passes", type=float, default=0.25, help="other synthetic speech")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    return parser.parse_args()


def main() -> None:
    """Prepare, then train."""
    options = arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare(options.an4, options.work / "features", options.synthetic, options.workers)
    run_workers(options.workers, partial(train, options))


def train(options: argparse.Namespace) -> None:
    """One worker's training."""
    first = Workers().first
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s"
    )
    parts = {p.stem: stored(p) for p in sorted((options.work / "features").glob("*.json"))}
    if first:
        (options.work / "pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
    an4 = [e for name, part in parts.items() if name.startswith("an4_") for e in part]
    synthetic = [e for name, part in parts.items() if name.startswith("synthetic_") for e in part]
    for name, part in (("an4", an4), ("synthetic", synthetic)):
        hours = sum(e.features.shape[1] for e in part) / 360_000
        LOG.info("%s: %d examples, %.2f hours", name, len(part), hours)
    corpora = [
        Corpus("an4", an4, options.an4_passes / len(SPEEDS)),
        Corpus("plain", [e for e in synthetic if _plain(e)], options.plain_passes),
        Corpus("other", [e for e in synthetic if not _plain(e)], options.other_passes),
    ]
    LOG.info(
        "passes an epoch: AN4 %.2f, plain synthetic sentences %.2f, other synthetic ones %.2f",
        options.an4_passes,
        options.plain_passes,
        options.other_passes,
    )
    model = ConformerCTC(
        ConformerConfig(
            vocabulary=len(VOCABULARY),
            d_model=144,
            layers=4,
            heads=4,
            ff_dim=432,
            kernel=15,
            subsampling_channels=64,
            dropout=options.dropout,
        )
    )
    LOG.info("%d parameters, dropout %.2f", model.parameter_count(), options.dropout)
    config = RecognitionConfig(
        epochs=1000, minutes=options.minutes, frames_per_batch=4000 // options.workers
    )
    trainer = Trainer(
        model,
        Recognition(VOCABULARY, config.intermediate_weight),
        config,
        options.work / "ckpt",
        augment=SpecAugment(),
        facts={"characters": VOCABULARY.characters},
    )
    if trainer.resume():
        LOG.info("resumed after epoch %d", trainer.epoch)

    def on_progress(p: Progress) -> None:
        LOG.info(
            "epoch %d step %d/%d loss %.3f rate %.2e, %.0f s of audio a second, %.0f min left",
            p.epoch,
            p.step,
            p.steps,
            p.loss,
            p.learning_rate,
            p.audio_rate,
            p.minutes_left,
        )

    def on_epoch(r: EpochResult) -> None:
        watched = trainer.validate(parts["watched"])
        LOG.info(
            "epoch %d: loss %.3f, WER held-out speakers %.2f %%, watched %.2f %%, %.1f min",
            r.epoch,
            r.loss,
            100 * r.error,
            100 * watched,
            r.minutes,
        )

    best = trainer.fit(corpora, parts["validation"], on_progress, on_epoch)
    LOG.info("best WER on held-out speakers: %.2f %%", 100 * best)


if __name__ == "__main__":
    main()
