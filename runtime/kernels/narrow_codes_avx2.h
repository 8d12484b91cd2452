// The quantiser's int16 codes as bytes, for the `*_avx*.cc` files.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace confpress::avx2 {

// int16 codes to bytes, in the same place; `flipped` bits are inverted (0x80 adds 128).
static inline void narrow_codes(void* codes, size_t length, uint8_t flipped) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(flipped));
  const auto* from = static_cast<const __m256i*>(codes);
  auto* to = static_cast<__m256i*>(codes);
  for (size_t k = 0; k < length; k += sizeof(__m256i), from += 2, ++to) {
    const __m256i low = _mm256_loadu_si256(from);
    const __m256i high = _mm256_loadu_si256(from + 1);
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
    _mm256_storeu_si256(to, _mm256_xor_si256(bytes, flip));
  }
}

}  // namespace confpress::avx2
