"""Which axes of a Reshape's input become which axes of its output."""

from __future__ import annotations

from collections.abc import Sequence

from .size import ONE, Size, product

#: Axes of the input and axes of the output that hold the same elements in the same order.
Group = tuple[tuple[int, ...], tuple[int, ...]]


def align(before: Sequence[Size], after: Sequence[Size]) -> list[Group]:
    """Cuts both shapes into groups of equal products, as small as the sizes allow.

    A Reshape keeps the order of elements; where the products of the first axes agree, the rest is
    a Reshape by itself. What cannot be told apart becomes one group. Axes of size one are left
    out.

    Args:
        before: Shape of the input.
        after: Shape of the output, of as many elements.
    """
    left = [axis for axis, size in enumerate(before) if size != ONE]
    right = [axis for axis, size in enumerate(after) if size != ONE]
    head: list[Group] = []
    while (group := _first_group(left, right, before, after)) is not None:
        head.append(group)
        left, right = left[len(group[0]) :], right[len(group[1]) :]
    tail: list[Group] = []
    left, right = left[::-1], right[::-1]
    while (group := _first_group(left, right, before, after)) is not None:
        tail.append((group[0][::-1], group[1][::-1]))
        left, right = left[len(group[0]) :], right[len(group[1]) :]
    middle = [(tuple(left[::-1]), tuple(right[::-1]))] if left or right else []
    return [*head, *middle, *tail[::-1]]


def _first_group(
    left: Sequence[int], right: Sequence[int], before: Sequence[Size], after: Sequence[Size]
) -> Group | None:
    """The shortest runs of axes from the start that have the same product."""
    if not left or not right:
        return None
    count_left = count_right = 1
    while True:
        a = product(before[axis] for axis in left[:count_left])
        b = product(after[axis] for axis in right[:count_right])
        if a == b:
            return tuple(left[:count_left]), tuple(right[:count_right])
        if a.divides(b) and count_left < len(left):
            count_left += 1
        elif b.divides(a) and count_right < len(right):
            count_right += 1
        elif a.number is None or b.number is None:
            return None
        elif a.number < b.number and count_left < len(left):
            count_left += 1
        elif b.number < a.number and count_right < len(right):
            count_right += 1
        else:
            return None
