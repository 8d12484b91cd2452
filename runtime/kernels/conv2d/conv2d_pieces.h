// The codes that two-dimensional convolutions read, laid out as their kernels read them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/custom_op.h"
#include "conv2d/conv2d_problem.h"

namespace confpress {

// How a kernel reads a piece.
struct PieceLayout {
  size_t channels;    // of a column: not fewer than the codes have
  size_t code_bytes;  // 1, or 2 for int16
  size_t beyond;      // bytes that it may read, and ignore, behind a piece
};

// The codes of an input's rows as a kernel reads them, with the pieces at the ends of the rows.
class PreparedCodes {
 public:
  PreparedCodes(const KernelContext& context, const Tensor& codes, const uint8_t* zeros,
                const Window& window, const PieceLayout& layout)
      : given_(codes.as<uint8_t>()),
        zeros_(zeros),
        rows_(static_cast<size_t>(codes.shape[0] * codes.shape[1])),
        columns_(static_cast<size_t>(codes.shape[2])),
        channels_(static_cast<size_t>(codes.shape[3])),
        wide_(layout.code_bytes != sizeof(uint8_t)),
        copies_(wide_ || layout.channels != channels_),
        axis_(window.columns),
        stride_(layout.channels * layout.code_bytes),
        places_(places_of(axis_, columns_)),
        left_(std::min(places_, ceil_div(axis_.before, axis_.stride))),
        right_(std::max(left_, inside(ceil_div(layout.beyond, stride_)))),
        ends_bytes_((left_ + places_ - right_) * axis_.taps * stride_),
        scratch_(context, axis_.taps * stride_ + rows_ * ends_bytes_ +
                              (copies_ ? rows_ * columns_ * stride_ : 0) + layout.beyond) {
    std::memset(scratch_.data(), 0, axis_.taps * stride_);
    context.parallel_for(rows_, [&](size_t row) noexcept { prepare(row); });
  }

  // Gives the kernel what it reads.
  void fill(Conv2dProblem& problem) const {
    problem.codes = copies_ ? copied() : reinterpret_cast<const std::byte*>(given_);
    problem.code_stride = stride_;
    problem.ends = ends();
    problem.left = left_;
    problem.right = right_;
    problem.nothing = scratch_.data();
    problem.columns = columns_;
    problem.places_columns = places_;
  }

 private:
  // At how many places, from the first on, neither a piece nor so many columns behind it reach
  // behind the row.
  size_t inside(size_t beyond) const {
    const size_t width = axis_.taps + beyond;
    const size_t reach = axis_.before + columns_;
    return reach < width ? 0 : std::min(places_, (reach - width) / axis_.stride + 1);
  }
  std::byte* ends() const { return scratch_.data() + axis_.taps * stride_; }
  std::byte* copied() const { return ends() + rows_ * ends_bytes_; }

  void prepare(size_t row) const {
    const uint8_t* given = given_ + row * columns_ * channels_;
    for (size_t column = 0; copies_ && column < columns_; ++column) {
      copy(given + column * channels_, copied() + (row * columns_ + column) * stride_);
    }
    std::byte* end = ends() + row * ends_bytes_;
    for (size_t place = 0; place < places_; ++place) {
      if (place == left_) place = right_;
      for (size_t tap = 0; place < places_ && tap < axis_.taps; ++tap, end += stride_) {
        const size_t column = place * axis_.stride + tap - axis_.before;
        if (column < columns_) {
          copy(given + column * channels_, end);
        } else {
          fill_codes(zeros_[row], end);
        }
      }
    }
  }

  void copy(const uint8_t* from, std::byte* to) const {
    if (wide_) {
      auto* wide = reinterpret_cast<int16_t*>(to);
      for (size_t i = 0; i < channels_; ++i) wide[i] = from[i];
    } else {
      std::memcpy(to, from, channels_);
    }
    const size_t length = channels_ * (wide_ ? sizeof(int16_t) : sizeof(uint8_t));
    std::memset(to + length, 0, stride_ - length);
  }

  void fill_codes(uint8_t code, std::byte* to) const {
    if (wide_) {
      std::fill_n(reinterpret_cast<int16_t*>(to), stride_ / sizeof(int16_t), int16_t{code});
    } else {
      std::memset(to, code, stride_);
    }
  }

  const uint8_t* const given_;
  const uint8_t* const zeros_;
  const size_t rows_;
  const size_t columns_;
  const size_t channels_;
  const bool wide_;
  const bool copies_;
  const WindowAxis axis_;
  const size_t stride_;
  const size_t places_;
  const size_t left_;
  const size_t right_;
  const size_t ends_bytes_;
  const KernelContext::Scratch scratch_;
};

}  // namespace confpress
