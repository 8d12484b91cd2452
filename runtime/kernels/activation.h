// Activations that a linear operator applies to its output.
#pragma once

namespace confpress {

enum class Activation { kNone, kSilu };

// silu(z) = z / (1 + exp(-z)). Every instruction set's exponential works on z within these bounds,
// beyond which silu is 0 or z; at the lower one 1 + exp(-z) still has a reciprocal in float.
constexpr float kSiluLeast = -87.0f;
constexpr float kSiluMost = 87.0f;

// exp(x) = 2^n · 2^r with n = round(x / ln 2) and r in [-0.5, 0.5]; 2^r by the polynomial of degree
// 5 whose largest relative error, 7.5e-8, is least (Remez), highest power first.
constexpr float kLog2E = 1.44269504f;
constexpr float kExp2[] = {1.32764725e-3f, 9.67554096e-3f, 5.55071309e-2f,
                           2.40221202e-1f, 6.93146944e-1f, 1.00000012f};

}  // namespace confpress
