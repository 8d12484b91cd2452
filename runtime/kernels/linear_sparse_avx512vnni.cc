// 8 frames x 2 strips, AVX-512 VNNI without VBMI. Per slot, vpshufb gathers for each of 16 rows
// four of 16 columns of a frame, and vpdpbusd multiplies them with the slot's 64 weights. Both
// strips of a tile share a frame's columns.
//
// Where a slot's columns lie in two windows (2:16), one look-up serves two strips: bytes 0-1 of a
// lane for the first, 2-3 for the second, and a blend with the other window's look-up puts the four
// bytes of each strip together. That is two look-ups for 128 products instead of four.
//
// vpshufb runs on port 5 only, vpdpbusd on ports 0 and 5, and the processor gives an instruction
// its port when it enters the scheduler, guessing: products that wait for their look-up take port 5
// from other look-ups. So the products of half a tile's frames are issued between the look-ups of
// the other half, whose operands are ready: 1.0 look-ups a cycle instead of 0.84.
#include <immintrin.h>

#include "activation_avx512.h"
#include "linear_sparse.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

constexpr int kTileFrames = 8;
constexpr int kTileStrips = 2;

// These are assembly, and volatile, to stand in the order in which they are written. Besides, GCC
// 12 copies every accumulator around the intrinsic of vpdpbusd.
__m512i window_at(const std::byte* codes) {
  __m512i window;
  __asm__ volatile("vbroadcasti32x4 %1, %0"
                   : "=v"(window)
                   : "m"(*reinterpret_cast<const __m128i*>(codes)));
  return window;
}

__m512i look_up(__m512i window, __m512i places) {
  __m512i codes;
  __asm__ volatile("vpshufb %2, %1, %0" : "=v"(codes) : "v"(window), "v"(places));
  return codes;
}

// The bytes of `codes`, and where the mask says so those that the window has at the places.
__m512i look_up_some(__m512i codes, __mmask64 mask, __m512i window, __m512i places) {
  __asm__ volatile("vpshufb %2, %1, %0 %{%3%}"
                   : "+v"(codes)
                   : "v"(window), "v"(places), "Yk"(mask));
  return codes;
}

void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

// Where a tile's strips stand in W and in columns; both move on slot by slot.
struct Strips {
  const int8_t* weights;
  const uint8_t* columns;
  size_t strip_bytes;

  __m512i weights_of(int strip) const { return _mm512_loadu_si512(weights + strip * strip_bytes); }
  __m512i columns_of(int strip) const { return _mm512_loadu_si512(columns + strip * strip_bytes); }
};

template <int kFrames, int kStrips>
struct Tile {
  static constexpr int kNear = (kFrames + 1) / 2;  // frames of the first half
  static constexpr int kFar = kFrames - kNear;
  __m512i sums[kFrames][kStrips];
  __m512i found[kNear][kStrips];  // by look-ups for a frame of either half
};

// A slot of all strips of a tile.
//   read_columns(strips), read_weights(strips)
//   find(t, i, codes)               looks the slot's columns up in a frame's codes: found[i]
//   add(t, frame, i)                adds the products of found[i] to a frame's sums
//   add_and_find(t, frame, i, codes)  adds what was found before, then finds
template <SlotReach kReach, int kStrips>
struct Slot;

#define CONFPRESS_INLINE [[gnu::always_inline]] inline

template <int kStrips>
struct Slot<SlotReach::kWindow, kStrips> {
  __m512i weights[kStrips];
  __m512i places[kStrips];

  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) places[s] = strips.columns_of(s);
  }
  CONFPRESS_INLINE void read_weights(const Strips& strips) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) weights[s] = strips.weights_of(s);
  }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    const __m512i window = window_at(codes);
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) t.found[i][s] = look_up(window, places[s]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) add_products(t.sums[frame][s], t.found[i][s], weights[s]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    const __m512i window = window_at(codes);
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      add_products(t.sums[frame][s], t.found[i][s], weights[s]);
      t.found[i][s] = look_up(window, places[s]);
    }
  }
};

// One strip whose slots reach further than a window: one look-up for every window, each for the
// bytes whose columns lie in it.
template <int kWindows>
struct WideSlot {
  __m512i weights;
  __m512i places;
  __mmask64 in[kWindows];

  CONFPRESS_INLINE void read_weights(const Strips& strips) { weights = strips.weights_of(0); }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    __m512i found = look_up(window_at(codes), places);
    CONFPRESS_UNROLL
    for (int w = 1; w < kWindows; ++w) {
      found = look_up_some(found, in[w], window_at(codes + w * kWindowColumns), places);
    }
    t.found[i][0] = found;
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    add_products(t.sums[frame][0], t.found[i][0], weights);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    add(t, frame, i);
    find(t, i, codes);
  }
};

template <>
struct Slot<SlotReach::kPair, 1> : WideSlot<2> {
  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    places = strips.columns_of(0);
    in[1] = 0xccccccccccccccccu;
  }
};

template <>
struct Slot<SlotReach::kBlock, 1> : WideSlot<kWindowsOfBlock> {
  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    places = strips.columns_of(0);
    // A look-up reads the lowest four bits; the next two name the window.
    const __m512i windows = _mm512_and_si512(places, _mm512_set1_epi8(0x30));
    CONFPRESS_UNROLL
    for (int w = 1; w < static_cast<int>(kWindowsOfBlock); ++w) {
      in[w] = _mm512_cmpeq_epi8_mask(windows, _mm512_set1_epi8(static_cast<char>(16 * w)));
    }
  }
};

template <>
struct Slot<SlotReach::kPair, 2> {
  static constexpr __mmask32 kUpper = 0xaaaaaaaau;  // the second two bytes of every lane
  __m512i weights[2];                               // the second strip's with its pairs swapped
  __m512i places[2];                                // of the windows, not of the strips

  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    const __m512i first = strips.columns_of(0);
    const __m512i second = strips.columns_of(1);
    places[0] = _mm512_mask_blend_epi16(kUpper, first, _mm512_slli_epi32(second, 16));
    places[1] = _mm512_mask_blend_epi16(kUpper, _mm512_srli_epi32(second, 16), first);
  }
  CONFPRESS_INLINE void read_weights(const Strips& strips) {
    weights[0] = strips.weights_of(0);
    weights[1] = _mm512_rol_epi32(strips.weights_of(1), 16);
  }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    CONFPRESS_UNROLL
    for (int w = 0; w < 2; ++w) {
      t.found[i][w] = look_up(window_at(codes + w * kWindowColumns), places[w]);
    }
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    const __m512i lower = t.found[i][0];
    const __m512i upper = t.found[i][1];
    add_products(t.sums[frame][0], _mm512_mask_blend_epi16(kUpper, lower, upper), weights[0]);
    add_products(t.sums[frame][1], _mm512_mask_blend_epi16(kUpper, upper, lower), weights[1]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    add(t, frame, i);
    find(t, i, codes);
  }
};

// Keeps GCC from deriving one pointer from another again in every step of a loop.
template <class T>
T* held(T* pointer) {
  __asm__("" : "+r"(pointer));
  return pointer;
}

template <int kFrames, int kStrips>
[[gnu::always_inline]] inline void finish(const LinearSparseProblem& p,
                                          const Tile<kFrames, kStrips>& t, size_t frame,
                                          size_t first) {
  const size_t rows = p.rows;
  const float* frame_scales = p.frame_scales + frame;
  const bool silu = p.activation == Activation::kSilu;
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const size_t row = first + s * kStripRows;
    const __m512 row_scales = _mm512_loadu_ps(p.row_scales + row);
    const __m512 bias = _mm512_loadu_ps(p.bias + row);
    const size_t left = rows - row;
    const auto mask = static_cast<__mmask16>(left < kStripRows ? (1u << left) - 1 : 0xffffu);
    __m512 y[kFrames];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512 product =
          _mm512_mul_ps(_mm512_cvtepi32_ps(t.sums[f][s]), _mm512_set1_ps(frame_scales[f]));
      y[f] = _mm512_add_ps(_mm512_mul_ps(product, row_scales), bias);
    }
    if (silu) avx512::activate<Activation::kSilu>(y);
    float* out = p.y + frame * rows + row;
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f, out = held(out + rows)) {
      _mm512_mask_storeu_ps(out, mask, y[f]);
    }
  }
}

// Adds what was found for the first half of the frames, and finds for the second.
template <class Tile, class Slot>
CONFPRESS_INLINE void add_near(Tile& t, const Slot& slot, const std::byte* codes, size_t stride) {
  const std::byte* far = held(codes + Tile::kNear * stride);
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add_and_find(t, f, f, far + f * stride);
  if (Tile::kFar < Tile::kNear) slot.add(t, Tile::kFar, Tile::kFar);
}

// Adds what was found for the second half of the frames, and finds the next slot's for the first.
// The weights are still those of the slot before.
template <class Tile, class Slot>
CONFPRESS_INLINE void add_far(Tile& t, const Slot& slot, const std::byte* codes, size_t stride) {
  const std::byte* near = held(codes);
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add_and_find(t, Tile::kNear + f, f, near + f * stride);
  if (Tile::kFar < Tile::kNear) slot.find(t, Tile::kFar, near + Tile::kFar * stride);
}

template <SlotReach kReach, int kFrames, int kStrips>
[[gnu::noinline]] void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
  using Tile = Tile<kFrames, kStrips>;
  const size_t first = strip * kStripRows;
  const size_t stride = p.codes_stride;
  const std::byte* codes = p.codes + frame * stride;
  Strips strips{p.weights + strip * p.strip_bytes(), p.columns + strip * p.strip_bytes(),
                p.strip_bytes()};
  Slot<kReach, kStrips> slot;
  Tile t;
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const __m512i start = _mm512_loadu_si512(p.offsets + first + s * kStripRows);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) t.sums[f][s] = start;
  }
  slot.read_columns(strips);
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kNear; ++f) slot.find(t, f, codes + f * stride);
  const size_t last = p.slots() - 1;
  for (size_t i = 0; i < last; ++i) {
    slot.read_weights(strips);
    add_near(t, slot, codes + p.first_column<kReach>(i), stride);
    strips.weights += kSlotBytes;
    strips.columns += kSlotBytes;
    slot.read_columns(strips);
    add_far(t, slot, codes + p.first_column<kReach>(i + 1), stride);
  }
  slot.read_weights(strips);
  add_near(t, slot, codes + p.first_column<kReach>(last), stride);
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add(t, Tile::kNear + f, f);
  finish(p, t, frame, first);
}

template <SlotReach kReach, int kFrames, int kStrips>
void tile_of(const LinearSparseProblem& p, size_t count, size_t frame, size_t strip) {
  if constexpr (kFrames > 1) {
    if (count < kFrames) return tile_of<kReach, kFrames - 1, kStrips>(p, count, frame, strip);
  }
  tile<kReach, kFrames, kStrips>(p, frame, strip);
}

template <SlotReach kReach, int kStrips>
void column_of_tiles(const LinearSparseProblem& p, Range frames, size_t strip) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range range = part(tiles, i);
    tile_of<kReach, kTileFrames, kStrips>(p, range.end - range.begin, range.begin, strip);
  }
}

template <SlotReach kReach>
void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
  size_t strip = strips.begin;
  if constexpr (kReach != SlotReach::kBlock) {
    for (; strip + kTileStrips <= strips.end; strip += kTileStrips) {
      column_of_tiles<kReach, kTileStrips>(p, frames, strip);
    }
  }
  for (; strip < strips.end; ++strip) column_of_tiles<kReach, 1>(p, frames, strip);
}

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  switch (p.reach) {
    case SlotReach::kWindow:
      return multiply_as<SlotReach::kWindow>(p, frames, strips);
    case SlotReach::kPair:
      return multiply_as<SlotReach::kPair>(p, frames, strips);
    case SlotReach::kBlock:
      return multiply_as<SlotReach::kBlock>(p, frames, strips);
  }
}

}  // namespace

const LinearSparseKernel kLinearSparseAvx512Vnni{&kFrameQuantizerAvx512Vnni, nullptr, kTileFrames,
                                                 kTileStrips, multiply};

}  // namespace confpress
