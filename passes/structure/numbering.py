"""Which block every module of the stream belongs to, and what it is called there.

The names are NeMo's, which the most published checkpoints use: ``feed_forward1``, ``self_attn``,
``conv``, ``feed_forward2``, ``norm_out``. Only the order of kinds decides, so that every exporter
gives the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .modules import Kind

_NAMES = {
    Kind.SELF_ATTENTION: "self_attn",
    Kind.CONVOLUTION: "conv",
    Kind.FEED_FORWARD: "feed_forward",
    Kind.NORM: "norm_out",
    Kind.OTHER: "other",
}


def number(kinds: Sequence[Kind]) -> list[tuple[int | None, str]]:
    """The block and the name of every module and norm of a stream.

    1. Norms on the stream end blocks, when there are any between modules: Conformers with a norm
       after every block.
    2. A norm after every module belongs to the module (post-norm Transformers).
    3. Without norms between modules, blocks are the shortest repeating sequence with one
       attention, or, where modules are missing, a new block begins with a kind that the current
       one cannot take.

    Args:
        kinds: Kinds in the order of data.

    Returns:
        For every one the index of its block and its name there, without duplicates. The block is
        None for norms after the last block.
    """
    modules = [i for i, kind in enumerate(kinds) if kind is not Kind.NORM]
    if not modules:
        return [(None, _NAMES[kind]) for kind in kinds]
    gaps = [right - left > 1 for left, right in zip(modules, modules[1:], strict=False)]
    post_norm = len(gaps) > 1 and all(gaps)
    if any(gaps) and not post_norm:
        blocks = _by_norms(kinds)
    else:
        blocks = _by_kinds(kinds, modules)
        _place_norms(kinds, modules, blocks, post_norm=post_norm)
    return _named(kinds, blocks, post_norm=post_norm)


def _by_norms(kinds: Sequence[Kind]) -> list[int | None]:
    """Every norm ends a block; norms after the last block's own belong to none."""
    last = max(i for i, kind in enumerate(kinds) if kind is not Kind.NORM)
    blocks: list[int | None] = []
    index = 0
    for position, kind in enumerate(kinds):
        blocks.append(index if position <= last + 1 else None)
        index += kind is Kind.NORM
    return blocks


def _by_kinds(kinds: Sequence[Kind], modules: list[int]) -> list[int | None]:
    sequence = [kinds[i] for i in modules]
    period = _period(sequence)
    blocks: list[int | None] = [None] * len(kinds)
    index, current = 0, list[Kind]()
    for count, position in enumerate(modules):
        kind = kinds[position]
        starts = count % period == 0 if period else not _fits(current, kind)
        if starts and current:
            index += 1
            current = []
        current.append(kind)
        blocks[position] = index
    return blocks


def _period(sequence: list[Kind]) -> int | None:
    """The length of the shortest sequence with one attention that repeats to give the whole."""
    for length in range(1, len(sequence)):
        repeats, rest = divmod(len(sequence), length)
        first = sequence[:length]
        if not rest and first.count(Kind.SELF_ATTENTION) == 1 and first * repeats == sequence:
            return length
    return None


def _fits(block: list[Kind], kind: Kind) -> bool:
    """Whether a block can go on with a kind: one of each, and a feed-forward on either side."""
    if kind is Kind.FEED_FORWARD:
        tail = block[block.index(Kind.SELF_ATTENTION) :] if Kind.SELF_ATTENTION in block else []
        return kind not in tail and (Kind.SELF_ATTENTION in block or kind not in block)
    return kind is Kind.OTHER or kind not in block


def _place_norms(
    kinds: Sequence[Kind], modules: list[int], blocks: list[int | None], *, post_norm: bool
) -> None:
    """Norms go with the module before them in post-norm streams; else the last are the encoder's.

    One block alone keeps the first norm after it.
    """
    last = modules[-1]
    for position, kind in enumerate(kinds):
        if kind is not Kind.NORM:
            continue
        follows_only_block = position == last + 1 and blocks[last] == 0
        if post_norm or follows_only_block:
            before = [i for i in modules if i < position]
            is_first = bool(before) and position == before[-1] + 1
            blocks[position] = blocks[before[-1]] if is_first else None


def _named(
    kinds: Sequence[Kind], blocks: list[int | None], *, post_norm: bool
) -> list[tuple[int | None, str]]:
    macaron = _is_macaron(kinds, blocks)
    names: list[str] = []
    attended: set[int | None] = set()
    for position, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
        name = _NAMES[kind]
        if kind is Kind.SELF_ATTENTION:
            attended.add(block)
        elif kind is Kind.FEED_FORWARD and macaron:
            name += "2" if block in attended else "1"
        elif kind is Kind.NORM and post_norm and block is not None:
            name = f"{names[position - 1]}_norm"
        names.append(name)
    return _without_duplicates(list(zip(blocks, names, strict=True)))


def _is_macaron(kinds: Sequence[Kind], blocks: list[int | None]) -> bool:
    """Whether some block has a feed-forward module before its attention."""
    seen: dict[int | None, list[Kind]] = {}
    for kind, block in zip(kinds, blocks, strict=True):
        earlier = seen.setdefault(block, [])
        if kind is Kind.SELF_ATTENTION and Kind.FEED_FORWARD in earlier:
            return True
        earlier.append(kind)
    return False


def _without_duplicates(named: list[tuple[int | None, str]]) -> list[tuple[int | None, str]]:
    """Numbers names that occur more than once in a block: ``conv``, ``conv_2``."""
    seen: Counter[tuple[int | None, str]] = Counter()
    result = []
    for block, name in named:
        seen[block, name] += 1
        count = seen[block, name]
        result.append((block, name if count == 1 else f"{name}_{count}"))
    return result
