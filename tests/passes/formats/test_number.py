"""Every code of every format: its value by the format's definition, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.formats import FORMATS, NumberFormat, number_format
from hypothesis import given, settings
from hypothesis import strategies as st

#: Exponent bits, mantissa bits, exponent bias of the float formats.
LAYOUTS = {"fp8": (4, 3, 7), "fp8_e5m2": (5, 2, 15), "fp4": (2, 1, 1)}
EVERY = pytest.mark.parametrize("number", FORMATS.values(), ids=list(FORMATS))


def value_of(number: NumberFormat, code: int) -> float:
    """The definition, from the bits alone."""
    if number.integer:
        half = 1 << (number.bits - 1)
        return code - 2 * half if number.signed and code >= half else code
    exponent_bits, mantissa_bits, bias = LAYOUTS[number.name]
    sign = -1.0 if code >> (number.bits - 1) else 1.0
    exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = code & ((1 << mantissa_bits) - 1)
    last = (1 << exponent_bits) - 1
    if number.name == "fp8_e5m2" and exponent == last:
        return math.nan if mantissa else sign * math.inf
    if number.name == "fp8" and exponent == last and mantissa == 7:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)


@EVERY
def test_every_code_has_the_value_of_its_definition(number: NumberFormat) -> None:
    expected = np.array([value_of(number, code) for code in range(1 << number.bits)], np.float32)
    codes = number.codes()
    if number.bits < 8:
        # Codes below eight bits lie in the low bits of a byte.
        assert (codes.view(np.uint8) == np.arange(1 << number.bits)).all()
    np.testing.assert_array_equal(number.decode(codes), expected)


@EVERY
def test_every_finite_code_comes_back(number: NumberFormat) -> None:
    codes = number.codes()
    values = number.decode(codes)
    usable = np.isfinite(values) & (values >= number.lowest) & (values <= number.highest)
    # Int8 leaves out -128; floats have codes of infinities and NaN.
    assert usable.sum() >= (1 << number.bits) - 8
    back = number.encode(values[usable])
    assert back.dtype == np.dtype(number.dtype)
    np.testing.assert_array_equal(number.decode(back), values[usable])
    np.testing.assert_array_equal(np.signbit(number.decode(back)), np.signbit(values[usable]))


@EVERY
@given(st.floats(-1e6, 1e6, width=32))
def test_the_nearest_code_is_taken(number: NumberFormat, value: float) -> None:
    values = number.decode(number.codes()).astype(np.float64)
    values = values[(values >= number.lowest) & (values <= number.highest)]
    array = np.array([value], np.float32)
    (got,) = number.decode(number.encode(array))
    assert abs(got - value) == np.abs(values - value).min()
    np.testing.assert_array_equal(number.round(array), [got])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("int8", 0.5, 0), ("int8", 1.5, 2), ("int4", 2.5, 2), ("int4", -9, -8), ("int2", 5, 1),
        ("uint4", -3, 0), ("uint8", 300, 255), ("fp4", 2.5, 2), ("fp4", 5, 4), ("fp4", 100, 6),
        ("fp8", 1e9, 448), ("fp8_e5m2", -1e9, -57344), ("int8", -128, -127),
    ],
)  # fmt: skip
def test_ties_go_to_even_and_too_much_saturates(name: str, value: float, expected: float) -> None:
    number = number_format(name)
    assert number.decode(number.encode(np.array([value], np.float32))) == [expected]


@EVERY
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_infinities_have_no_code(number: NumberFormat, bad: float) -> None:
    with pytest.raises(ConfpressError, match=f"no code in the format {number.name}"):
        number.encode(np.array([1.0, bad], np.float32))


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ConfpressError, match="no format 'fp3'"):
        number_format("fp3")


@pytest.mark.parametrize("number", list(FORMATS.values()), ids=list(FORMATS))
@settings(max_examples=200, deadline=None)
@given(value=st.floats(-70000, 70000, width=32))
def test_rounding_is_encoding_and_decoding(number: NumberFormat, value: float) -> None:
    """Close to zero, between codes, and beyond the largest."""
    values = np.array([value, value / 448, value / 7e4, value * 1e-8], np.float32)
    np.testing.assert_array_equal(number.round(values), number.decode(number.encode(values)))
