"""Which block every module of the stream belongs to, and what it is called there.

The names are NeMo's, which the most published checkpoints use: ``feed_forward1``, ``self_attn``,
``conv``, ``feed_forward2``, ``norm_out``. Only the order of kinds decides, so that every exporter
gives the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .modules import ATTENDING, Kind

_NAMES = {
    Kind.SELF_ATTENTION: "self_attn",
    Kind.CONVOLUTION: "conv",
    Kind.BRANCHES: "branches",
    Kind.FEED_FORWARD: "feed_forward",
    Kind.NORM: "norm_out",
    Kind.OTHER: "other",
}


def number(kinds: Sequence[Kind]) -> list[str]:
    """The names of the modules and norms of a stream, unique and relative to the encoder.

    1. In a stream with norms after most modules (post-norm), these norms go by their modules:
       ``layers.0.self_attn_norm``. The other norms count in what follows.
    2. Norms between modules end blocks: ``layers.0.norm_out``.
    3. Without norms between modules, blocks are the shortest repeating sequence with one
       attention, or, where modules are missing, a new block begins with a kind that the current
       one cannot take.
    4. A second norm after the last block is the encoder's, ``norm_out``; modules behind it belong
       to no block: ``after.feed_forward``.

    Args:
        kinds: Kinds in the order of data.
    """
    own = _norms_of_modules(kinds)
    counted = [i for i in range(len(kinds)) if i not in own]
    blocks: dict[int, int | None] = dict(
        zip(counted, _blocks([kinds[i] for i in counted]), strict=True)
    )
    for position in sorted(own):
        blocks[position] = blocks[position - 1]
    names = _names(kinds, [blocks[i] for i in range(len(kinds))], own)
    return _without_duplicates(names)


def _norms_of_modules(kinds: Sequence[Kind]) -> set[int]:
    """The norms directly after modules, if they stand after more than half of the modules."""
    modules = [i for i, kind in enumerate(kinds) if kind not in (Kind.NORM, Kind.OTHER)]
    norms = {i + 1 for i in modules if i + 1 < len(kinds) and kinds[i + 1] is Kind.NORM}
    return norms if len(modules) > 2 and 2 * len(norms) > len(modules) else set()


def _blocks(kinds: Sequence[Kind]) -> list[int | None]:
    modules = [i for i, kind in enumerate(kinds) if kind is not Kind.NORM]
    if not modules:
        return [None] * len(kinds)
    if Kind.NORM in kinds[: modules[-1]]:
        return _by_norms(kinds)
    return _by_kinds(kinds, modules)


def _by_norms(kinds: Sequence[Kind]) -> list[int | None]:
    """Every norm ends a block, until a second norm after the last block that is one."""
    mixing = [i for i, k in enumerate(kinds) if k in (*ATTENDING, Kind.CONVOLUTION)]
    last = mixing[-1] if mixing else -1
    blocks: list[int | None] = []
    index: int | None = 0
    for position, kind in enumerate(kinds):
        follows_norm = position > 0 and kinds[position - 1] is Kind.NORM
        if kind is Kind.NORM and follows_norm and position > last:
            index = None
        blocks.append(index)
        if kind is Kind.NORM and index is not None:
            index += 1
    return blocks


def _by_kinds(kinds: Sequence[Kind], modules: list[int]) -> list[int | None]:
    """Blocks by what they hold; one block alone keeps the norm after it, others none."""
    known = [i for i in modules if kinds[i] is not Kind.OTHER]
    starts = _starts(kinds, modules) or _starts(kinds, known) or _greedy_starts(kinds, known)
    blocks: list[int | None] = [None] * len(kinds)
    for position in modules:
        blocks[position] = max(sum(start <= position for start in starts) - 1, 0)
    if len(starts) == 1 and modules[-1] + 1 < len(kinds):
        blocks[modules[-1] + 1] = 0
    return blocks


def _starts(kinds: Sequence[Kind], modules: list[int]) -> list[int]:
    """Where blocks begin if the modules repeat; none if they do not."""
    period = _period([kinds[i] for i in modules])
    return modules[::period] if period else []


def _greedy_starts(kinds: Sequence[Kind], modules: list[int]) -> list[int]:
    """Where blocks begin if each takes modules for as long as they fit."""
    starts = modules[:1]
    block: list[Kind] = []
    for position in modules:
        if not _fits(block, kinds[position]):
            starts.append(position)
            block = []
        block.append(kinds[position])
    return starts


def _period(sequence: list[Kind]) -> int | None:
    """The length of the shortest sequence with one attention that repeats to give the whole.

    Where no attention was recognised, a module of unknown kind stands for it.
    """
    mixer = next((kind for kind in ATTENDING if kind in sequence), Kind.OTHER)
    for length in range(1, len(sequence)):
        repeats, rest = divmod(len(sequence), length)
        first = sequence[:length]
        if not rest and first.count(mixer) == 1 and first * repeats == sequence:
            return length
    return None


def _fits(block: list[Kind], kind: Kind) -> bool:
    """Whether a block can go on with a kind: one of each, and a feed-forward on either side."""
    if kind is Kind.FEED_FORWARD:
        attending = [i for i, each in enumerate(block) if each in ATTENDING]
        return kind not in (block[attending[0] :] if attending else block)
    return kind not in block


def _names(kinds: Sequence[Kind], blocks: Sequence[int | None], own: set[int]) -> list[str]:
    halves = _feed_forward_numbers(kinds, blocks)
    names: list[str] = []
    for position, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
        name = f"{_NAMES[kind]}{halves.get(position, '')}"
        if position in own:
            name = f"{names[-1]}_norm"
        elif block is not None:
            name = f"layers.{block}.{name}"
        elif kind is not Kind.NORM or "norm_out" in names:
            name = f"after.{name}"
        names.append(name)
    return names


def _feed_forward_numbers(kinds: Sequence[Kind], blocks: Sequence[int | None]) -> dict[int, int]:
    """1 for feed-forward modules before their block's attention and 2 for those after it.

    What else a block holds stands for an attention that is missing. Where no block has a module
    before, they are counted; where every block has one only, it gets no number.
    """
    members: dict[int, list[int]] = {}
    for position, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
        if block is not None and kind is not Kind.NORM:
            members.setdefault(block, []).append(position)
    numbers: dict[int, int] = {}
    counted: dict[int, int] = {}
    for each in members.values():
        feed_forwards = [i for i in each if kinds[i] is Kind.FEED_FORWARD]
        counted |= {i: count for count, i in enumerate(feed_forwards, start=1)}
        middle = _middle(kinds, each)
        if middle is not None:
            numbers |= {i: 1 if i < middle else 2 for i in feed_forwards}
    if 1 in numbers.values():
        return counted | numbers
    return counted if 2 in counted.values() else {}


def _middle(kinds: Sequence[Kind], block: Sequence[int]) -> int | None:
    """Where a block's attention stands; without one, an unknown module or the convolution."""
    for kind in (*ATTENDING, Kind.OTHER, Kind.CONVOLUTION):
        for position in block:
            if kinds[position] is kind:
                return position
    return None


def _without_duplicates(names: Sequence[str]) -> list[str]:
    """Numbers names that occur more than once: ``layers.0.conv``, ``layers.0.conv_2``."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
