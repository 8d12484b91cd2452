"""Sizes of axes as integer polynomials, so that ``B·4·T`` and ``4·B·T`` are known to be equal."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

#: A product of symbols, sorted; the empty product is one.
_Monomial = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Size:
    """A polynomial with integer coefficients over the unknown sizes of a graph.

    Two equal ``Size`` are equal numbers whatever is fed; two different ones may still be.

    Attributes:
        terms: Coefficient by monomial, sorted, without zeros.
    """

    terms: tuple[tuple[_Monomial, int], ...]

    @staticmethod
    def of(number: int) -> Size:
        """A known number."""
        return Size((((), number),) if number else ())

    @staticmethod
    def symbol(name: str) -> Size:
        """An unknown number; equal names are equal numbers."""
        return Size((((name,), 1),))

    @property
    def number(self) -> int | None:
        """The number, if it is known."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    def __add__(self, other: Size) -> Size:
        total: defaultdict[_Monomial, int] = defaultdict(int, self.terms)
        for monomial, coefficient in other.terms:
            total[monomial] += coefficient
        return _collect(total)

    def __neg__(self) -> Size:
        return Size(tuple((monomial, -coefficient) for monomial, coefficient in self.terms))

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __mul__(self, other: Size) -> Size:
        total: defaultdict[_Monomial, int] = defaultdict(int)
        for left, a in self.terms:
            for right, b in other.terms:
                total[tuple(sorted(left + right))] += a * b
        return _collect(total)

    def exact_quotient(self, divisor: Size) -> Size | None:
        """``self / divisor`` if that is a polynomial and the divisor has one term, else None."""
        if self == divisor and self.terms:
            return ONE
        if len(divisor.terms) != 1:
            return None
        ((symbols, number),) = divisor.terms
        total: dict[_Monomial, int] = {}
        for monomial, coefficient in self.terms:
            rest = list(monomial)
            for symbol in symbols:
                if symbol not in rest:
                    return None
                rest.remove(symbol)
            if coefficient % number:
                return None
            total[tuple(rest)] = coefficient // number
        return _collect(total)

    def divides(self, other: Size) -> bool:
        """Whether ``other / self`` is known to be a whole number."""
        return other.exact_quotient(self) is not None

    @property
    def is_size(self) -> bool:
        """Whether it is surely not negative, as a sum of products of sizes is."""
        return all(coefficient > 0 for _, coefficient in self.terms)

    def __str__(self) -> str:
        terms = (
            "·".join([*(map(str, (c,)) if c != 1 or not m else ()), *m]) for m, c in self.terms
        )
        return " + ".join(terms) or "0"


def _collect(total: Mapping[_Monomial, int]) -> Size:
    return Size(tuple(sorted((m, c) for m, c in total.items() if c)))


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes, one for none."""
    return math.prod(sizes, start=ONE)


ONE = Size.of(1)
ZERO = Size.of(0)
