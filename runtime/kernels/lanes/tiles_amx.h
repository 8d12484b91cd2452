// The tile registers of Intel AMX, for the `*_amx.cc` files: eight registers of up to 16 rows of 64
// bytes, and the product that adds to each int32 of one the dot products of four bytes of two
// others. Tests emulate them on processors without.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(CONFPRESS_EMULATE)
#include <cstring>
#endif

#define CONFPRESS_INLINE [[gnu::always_inline]] static inline

namespace confpress::amx {

constexpr size_t kTileRows = 16;
constexpr size_t kTileBytes = 64;  // of a row

// What LDTILECFG reads (Intel's manual, volume 1, section 18.2).
struct Shapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(Shapes) == 64);

#if defined(CONFPRESS_EMULATE)

struct Registers {
  Shapes shapes;
  uint8_t bytes[8][kTileRows][kTileBytes];
};
static thread_local Registers registers;

CONFPRESS_INLINE void set_shapes(const Shapes& shapes) { registers.shapes = shapes; }
CONFPRESS_INLINE void release() {}

template <int kTile>
CONFPRESS_INLINE void load(const void* from, size_t stride) {
  for (size_t row = 0; row < registers.shapes.rows[kTile]; ++row) {
    std::memcpy(registers.bytes[kTile][row], static_cast<const uint8_t*>(from) + row * stride,
                registers.shapes.row_bytes[kTile]);
  }
}

template <int kTile>
CONFPRESS_INLINE void store(void* to, size_t stride) {
  for (size_t row = 0; row < registers.shapes.rows[kTile]; ++row) {
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, registers.bytes[kTile][row],
                registers.shapes.row_bytes[kTile]);
  }
}

template <int kSums, int kUnsigned, int kSigned>
CONFPRESS_INLINE void add_products() {
  for (size_t row = 0; row < registers.shapes.rows[kSums]; ++row) {
    for (size_t lane = 0; lane < kTileBytes / 4; ++lane) {
      int32_t sum = 0;
      std::memcpy(&sum, registers.bytes[kSums][row] + 4 * lane, sizeof sum);
      for (size_t k = 0; k < registers.shapes.row_bytes[kUnsigned]; ++k) {
        sum += registers.bytes[kUnsigned][row][k] *
               static_cast<int8_t>(registers.bytes[kSigned][k / 4][4 * lane + k % 4]);
      }
      std::memcpy(registers.bytes[kSums][row] + 4 * lane, &sum, sizeof sum);
    }
  }
}

template <int kSums, int kLeft, int kRight>
CONFPRESS_INLINE void add_bfloat16_products() {
  const auto value = [](const uint8_t* bytes) {
    uint16_t half = 0;
    std::memcpy(&half, bytes, sizeof half);
    const uint32_t bits = uint32_t{half} << 16;
    float number = 0.0f;
    std::memcpy(&number, &bits, sizeof number);
    return number;
  };
  for (size_t row = 0; row < registers.shapes.rows[kSums]; ++row) {
    for (size_t lane = 0; lane < kTileBytes / 4; ++lane) {
      float sum = 0.0f;
      std::memcpy(&sum, registers.bytes[kSums][row] + 4 * lane, sizeof sum);
      for (size_t k = 0; k < registers.shapes.row_bytes[kLeft]; k += 2) {
        sum += value(registers.bytes[kLeft][row] + k) *
               value(registers.bytes[kRight][k / 4] + 4 * lane + k % 4);
      }
      std::memcpy(registers.bytes[kSums][row] + 4 * lane, &sum, sizeof sum);
    }
  }
}

#else

// Assembly, as the compiler's intrinsics take the numbers of registers as text alone, which no
// template has, and do not say that they read and write memory.
CONFPRESS_INLINE void set_shapes(const Shapes& shapes) {
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}
CONFPRESS_INLINE void release() { __asm__ volatile("tilerelease"); }

template <int kTile>
CONFPRESS_INLINE void load(const void* from, size_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                   :
                   : "r"(from), "r"(stride), "i"(kTile)
                   : "memory");
}

template <int kTile>
CONFPRESS_INLINE void store(void* to, size_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                   :
                   : "r"(to), "r"(stride), "i"(kTile)
                   : "memory");
}

// Each int32 of kSums += four products of kUnsigned's bytes, in its row, and kSigned's.
template <int kSums, int kUnsigned, int kSigned>
CONFPRESS_INLINE void add_products() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                   :
                   : "i"(kSums), "i"(kUnsigned), "i"(kSigned));
}

// Each float32 of kSums += two products of bfloat16.
template <int kSums, int kLeft, int kRight>
CONFPRESS_INLINE void add_bfloat16_products() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                   :
                   : "i"(kSums), "i"(kLeft), "i"(kRight));
}

#endif

// Registers 0 to 3 hold sums, 4 and 5 codes, of so many rows; 6 and 7 weights. Other code of the
// process expects the registers released.
class ShapedTiles {
 public:
  explicit ShapedTiles(size_t rows) {
    Shapes shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.row_bytes[i] = kTileBytes;
      shapes.rows[i] = static_cast<uint8_t>(i < 6 ? rows : kTileRows);
    }
    set_shapes(shapes);
  }
  ~ShapedTiles() { release(); }
  ShapedTiles(const ShapedTiles&) = delete;
  ShapedTiles& operator=(const ShapedTiles&) = delete;
};

}  // namespace confpress::amx

#undef CONFPRESS_INLINE
