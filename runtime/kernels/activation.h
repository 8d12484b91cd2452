// Activations that a linear operator applies to its output.
#pragma once

namespace confpress {

enum class Activation { kNone, kSilu };

// silu(z) = z / (1 + exp(-z)). Vector code takes the exponential of z bounded to this magnitude,
// where 1 + exp(-z) still has a reciprocal; above it silu is z, and below -87, where it is less
// than 1.5e-36, it is taken as 0.
constexpr float kSiluBound = 87.0f;

// exp(x) = 2^n · 2^r with n = round(x / ln 2) and r in [-0.5, 0.5]; 2^r by the polynomial of degree
// 5 whose largest relative error, 7.5e-8, is least (Remez), highest power first.
constexpr float kLog2E = 1.44269504f;
constexpr float kExp2[] = {1.32764725e-3f, 9.67554096e-3f, 5.55071309e-2f,
                           2.40221202e-1f, 6.93146944e-1f, 1.00000012f};

// Adding it rounds a small float to an integer, ties to even, and leaves that integer in the lowest
// bits of the sum.
constexpr float kRoundingShift = 12582912.0f;

}  // namespace confpress
