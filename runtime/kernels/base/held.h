// Addresses that GCC leaves as they are.
#pragma once

namespace confpress {

// Keeps GCC from deriving one address from another again in every step of a loop.
template <class T>
[[gnu::always_inline]] static inline T held(T address) {
  __asm__("" : "+r"(address));
  return address;
}

}  // namespace confpress
