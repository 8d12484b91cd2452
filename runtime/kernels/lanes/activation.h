// Activations that a linear operator applies to its output.
#pragma once

namespace confpress {

enum class Activation { kNone, kSilu, kRelu, kGelu, kGeluTanh, kSigmoid };

// What each adds to an operator's name; passes/operators/activated.py says what each means.
constexpr const char* kActivationSuffixes[] = {"", "SiLU", "ReLU", "GELU", "GELUTanh", "Sigmoid"};

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

// GELU is z · Φ(z), which is z · sigmoid(u) with u = log(Φ(z) / Φ(-z)), an odd function: u is z
// times a polynomial of z², highest power first, z² taken as at most the bound. The polynomial is
// the one of degree 6 whose largest error of Φ for |z| <= 5.5, 2.9e-8, is least (linear
// programming on 3000 points); beyond, Φ is 0 or 1 to 2e-8 and u goes on as a straight line. With
// all roundings the result is within 1.6e-7 |z| of the exact one; ONNX Runtime's is within 1.1e-7.
constexpr float kGelu[] = {3.5118253e-9f, -2.6451107e-7f, 7.9293195e-6f, -1.1061158e-4f,
                           -6.51916e-5f,  7.2666170e-2f,  1.5957699f};
constexpr float kGeluBound = 30.25f;

// The form with tanh, z · (1 + tanh(v)) / 2, is z · sigmoid(2 v), 2 v = z · (c + 0.044715 c z²)
// with c = 2 √(2 / π).
constexpr float kGeluTanh[] = {7.1354816e-2f, 1.5957691f};
constexpr float kGeluTanhBound = 100.0f;

}  // namespace confpress
