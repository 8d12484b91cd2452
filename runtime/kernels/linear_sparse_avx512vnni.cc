// 8 frames x 2 strips, AVX-512 VNNI without VBMI. Per slot, vpshufb gathers for each of 16 rows
// four of 16 columns of a frame, and vpdpbusd multiplies them with the slot's 64 weights. Both
// strips of a tile share a frame's columns.
//
// Where a slot's columns lie in two windows (2:16), one look-up serves two strips: bytes 0-1 of a
// lane for the first, 2-3 for the second, and a blend with the other window's look-up puts the four
// bytes of each strip together. That is two look-ups for 128 products instead of four.
#include <immintrin.h>

#include "activation_avx512.h"
#include "linear_sparse.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

constexpr int kTileFrames = 8;
constexpr int kTileStrips = 2;

__m512i window_at(const std::byte* codes) {
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
}

// sums += four products a lane; assembly because GCC 12 copies every accumulator around the
// intrinsic.
void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

template <int kFrames, int kStrips>
struct Tile {
  __m512i sums[kFrames][kStrips];
  const std::byte* codes;
  size_t stride;
  const int8_t* weights;
  const uint8_t* columns;
  size_t strip_bytes;

  __m512i weights_at(size_t slot, int strip) const {
    return _mm512_loadu_si512(weights + strip * strip_bytes + slot * kSlotBytes);
  }
  __m512i columns_at(size_t slot, int strip) const {
    return _mm512_loadu_si512(columns + strip * strip_bytes + slot * kSlotBytes);
  }
};

template <int kFrames, int kStrips>
[[gnu::always_inline]] inline void add_window_slot(Tile<kFrames, kStrips>& t, size_t slot,
                                                   size_t column) {
  __m512i w[kStrips];
  __m512i places[kStrips];
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    w[s] = t.weights_at(slot, s);
    places[s] = t.columns_at(slot, s);
  }
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    const __m512i x = window_at(t.codes + f * t.stride + column);
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      add_products(t.sums[f][s], _mm512_shuffle_epi8(x, places[s]), w[s]);
    }
  }
}

template <int kFrames>
[[gnu::always_inline]] inline void add_pair_slot(Tile<kFrames, 1>& t, size_t slot, size_t column) {
  constexpr __mmask64 kUpper = 0xccccccccccccccccu;
  const __m512i w = t.weights_at(slot, 0);
  const __m512i places = t.columns_at(slot, 0);
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    const std::byte* codes = t.codes + f * t.stride + column;
    const __m512i lower = _mm512_shuffle_epi8(window_at(codes), places);
    const __m512i upper = window_at(codes + kWindowColumns);
    add_products(t.sums[f][0], _mm512_mask_shuffle_epi8(lower, kUpper, upper, places), w);
  }
}

template <int kFrames>
[[gnu::always_inline]] inline void add_pair_slot(Tile<kFrames, 2>& t, size_t slot, size_t column) {
  constexpr __mmask32 kUpper = 0xaaaaaaaau;
  const __m512i first = t.columns_at(slot, 0);
  const __m512i second = t.columns_at(slot, 1);
  const __m512i lower = _mm512_mask_blend_epi16(kUpper, first, _mm512_slli_epi32(second, 16));
  const __m512i upper = _mm512_mask_blend_epi16(kUpper, _mm512_srli_epi32(second, 16), first);
  const __m512i w = t.weights_at(slot, 0);
  const __m512i swapped = _mm512_rol_epi32(t.weights_at(slot, 1), 16);
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    const std::byte* codes = t.codes + f * t.stride + column;
    const __m512i a = _mm512_shuffle_epi8(window_at(codes), lower);
    const __m512i b = _mm512_shuffle_epi8(window_at(codes + kWindowColumns), upper);
    add_products(t.sums[f][0], _mm512_mask_blend_epi16(kUpper, a, b), w);
    add_products(t.sums[f][1], _mm512_mask_blend_epi16(kUpper, b, a), swapped);
  }
}

template <int kFrames, int kStrips>
[[gnu::always_inline]] inline void add_block_slot(Tile<kFrames, kStrips>& t, size_t slot,
                                                  size_t column) {
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const __m512i w = t.weights_at(slot, s);
    const __m512i places = t.columns_at(slot, s);
    // A look-up reads the lowest four bits; the next two name the window.
    const __m512i windows = _mm512_and_si512(places, _mm512_set1_epi8(0x30));
    __mmask64 in[kWindowsOfBlock];
    CONFPRESS_UNROLL
    for (int i = 0; i < static_cast<int>(kWindowsOfBlock); ++i) {
      in[i] = _mm512_cmpeq_epi8_mask(windows, _mm512_set1_epi8(static_cast<char>(16 * i)));
    }
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const std::byte* codes = t.codes + f * t.stride + column;
      __m512i x = _mm512_shuffle_epi8(window_at(codes), places);
      CONFPRESS_UNROLL
      for (int i = 1; i < static_cast<int>(kWindowsOfBlock); ++i) {
        x = _mm512_mask_shuffle_epi8(x, in[i], window_at(codes + i * kWindowColumns), places);
      }
      add_products(t.sums[f][s], x, w);
    }
  }
}

template <int kFrames, int kStrips>
[[gnu::always_inline]] inline void finish(const LinearSparseProblem& p, Tile<kFrames, kStrips>& t,
                                          size_t frame, size_t first) {
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const size_t row = first + s * kStripRows;
    const __m512 row_scales = _mm512_loadu_ps(p.row_scales + row);
    const __m512 bias = _mm512_loadu_ps(p.bias + row);
    const size_t left = p.rows - row;
    const auto mask = static_cast<__mmask16>(left < kStripRows ? (1u << left) - 1 : 0xffffu);
    __m512 y[kFrames];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512 frame_scale = _mm512_set1_ps(p.frame_scales[frame + f]);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(t.sums[f][s]), frame_scale);
      y[f] = _mm512_add_ps(_mm512_mul_ps(product, row_scales), bias);
    }
    if (p.activation == Activation::kSilu) avx512::activate<Activation::kSilu>(y);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      _mm512_mask_storeu_ps(p.y + (frame + f) * p.rows + row, mask, y[f]);
    }
  }
}

template <SlotReach kReach, int kFrames, int kStrips>
[[gnu::noinline]] void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
  const size_t strip_bytes = p.strip_bytes();
  const size_t first = strip * kStripRows;
  Tile<kFrames, kStrips> t;
  t.codes = p.codes + frame * p.codes_stride;
  t.stride = p.codes_stride;
  t.weights = p.weights + strip * strip_bytes;
  t.columns = p.columns + strip * strip_bytes;
  t.strip_bytes = strip_bytes;
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const __m512i start = _mm512_loadu_si512(p.offsets + first + s * kStripRows);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) t.sums[f][s] = start;
  }
  const size_t slots = p.slots();
  for (size_t slot = 0; slot < slots; ++slot) {
    const size_t column = p.first_column<kReach>(slot);
    if constexpr (kReach == SlotReach::kWindow) add_window_slot(t, slot, column);
    if constexpr (kReach == SlotReach::kPair) add_pair_slot(t, slot, column);
    if constexpr (kReach == SlotReach::kBlock) add_block_slot(t, slot, column);
  }
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
  const size_t tiles = ceil_div(frames.end - frames.begin, kTileFrames);
  for (size_t i = 0; i < tiles; ++i) {
    const Range range = part(frames, tiles, i);
    tile_of<kReach, kTileFrames, kStrips>(p, range.end - range.begin, range.begin, strip);
  }
}

template <SlotReach kReach>
void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
  size_t strip = strips.begin;
  for (; strip + kTileStrips <= strips.end; strip += kTileStrips) {
    column_of_tiles<kReach, kTileStrips>(p, frames, strip);
  }
  if (strip < strips.end) column_of_tiles<kReach, 1>(p, frames, strip);
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
