// QuantConv2d: convolution of uint8 rows with int8 weights; passes/operators/quantconv2d.py defines
// it.
#include "quant_conv2d.h"

#include <algorithm>
#include <cstring>

#include "aligned_vector.h"
#include "conv2d_inputs.h"
#include "cpu_path.h"
#include "custom_op.h"
#include "linear_inputs.h"
#include "task_grid.h"

namespace confpress {
namespace {

// A task multiplies this many tiles of places with one tile of strips.
constexpr size_t kTilesOfTask = 8;

const QuantConv2dKernel& kernel_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vbmi:
    case CpuPath::kAvx512Vnni:
      return kQuantConv2dAvx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvxVnni:
    case CpuPath::kAvx2:
      return kQuantConv2dAvx2;
#endif
    default:
      return kQuantConv2dPortable;
  }
}

constexpr char kOp[] = "QuantConv2d";

// The codes of an input's rows as the kernel reads them: as wide, with whole groups of channels,
// and with the pieces at the ends of the rows.
class PreparedCodes {
 public:
  PreparedCodes(const KernelContext& context, const Tensor& codes, const uint8_t* zeros,
                const Window& window, size_t groups, size_t code_bytes)
      : given_(codes.as<uint8_t>()),
        zeros_(zeros),
        rows_(static_cast<size_t>(codes.shape[0] * codes.shape[1])),
        columns_(static_cast<size_t>(codes.shape[2])),
        channels_(static_cast<size_t>(codes.shape[3])),
        wide_(code_bytes != sizeof(uint8_t)),
        copies_(wide_ || groups * kConvGroup != channels_),
        axis_(window.columns),
        stride_(groups * kConvGroup * code_bytes),
        places_(places_of(axis_, columns_)),
        left_(std::min(places_, ceil_div(axis_.before, axis_.stride))),
        right_(std::max(left_, inside())),
        ends_bytes_((left_ + places_ - right_) * axis_.taps * stride_),
        scratch_(context, axis_.taps * stride_ + rows_ * ends_bytes_ +
                              (copies_ ? rows_ * columns_ * stride_ : 0)) {
    std::memset(scratch_.data(), 0, axis_.taps * stride_);
    context.parallel_for(rows_, [&](size_t row) noexcept { prepare(row); });
  }

  // Gives the kernel what it reads.
  void fill(QuantConv2dProblem& problem) const {
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
  // How many places, from the first on, do not reach behind the row.
  size_t inside() const {
    const size_t reach = axis_.before + columns_;
    return reach < axis_.taps ? 0 : std::min(places_, (reach - axis_.taps) / axis_.stride + 1);
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

class QuantConv2dBase {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kUint8, ort::kFloat, ort::kUint8,
                                                 ort::kInt8,  ort::kFloat, ort::kFloat};

  QuantConv2dBase(const KernelInfo& info, ConvActivation activation)
      : kernel_(kernel_of(cpu_path_choice().chosen.path)), activation_(activation) {
    const Tensor weights = info.constant(3, "W");
    const Tensor scales = info.constant(4, "W_scales");
    const Tensor bias = info.constant(5, "bias");
    require_filters(kOp, weights);
    const int64_t outputs = weights.shape[0];
    const int64_t inputs = weights.shape[1];
    if (inputs * weights.shape[3] > kMostRowProducts) {
      throw Error(std::string(kOp) + "'s input W has the shape " + text_of(weights.shape) +
                  " with more than " + std::to_string(kMostRowProducts) +
                  " products of a row of the window.");
    }
    require(kOp, scales, "W_scales", ort::kFloat, {outputs, weights.shape[2]});
    require(kOp, bias, "bias", ort::kFloat, {outputs});
    window_ = window_of(kOp, info, weights.shape[2], weights.shape[3]);
    channels_ = static_cast<size_t>(outputs);
    channels_in_ = static_cast<size_t>(inputs);
    groups_ = ceil_div(channels_in_, kConvGroup);
    strips_ = ceil_div(channels_, kConvStrip);
    bias_ = padded(bias.as<float>(), channels_, strips_ * kConvStrip);
    pack(weights.as<int8_t>(), scales.as<float>());
  }

  void compute(KernelContext& context) const {
    const Tensor codes = context.input(0);
    const Tensor scales = context.input(1);
    const Tensor zeros = context.input(2);
    require_rows(kOp, codes, "codes", channels_in_);
    const std::vector<int64_t> rows_shape{codes.shape[0], codes.shape[1]};
    require(kOp, scales, "scales", ort::kFloat, rows_shape);
    require(kOp, zeros, "zeros", ort::kUint8, rows_shape);
    const size_t time = places_of(window_.time, static_cast<size_t>(codes.shape[1]));
    const size_t columns = places_of(window_.columns, static_cast<size_t>(codes.shape[2]));
    float* y = context.output(0, {codes.shape[0], static_cast<int64_t>(time),
                                  static_cast<int64_t>(columns), static_cast<int64_t>(channels_)});
    if (codes.shape[0] > 0 && time > 0 && columns > 0) {
      run(context, codes, scales.as<float>(), zeros.as<uint8_t>(), time, y);
    }
  }

 private:
  // Weights in strips and groups, and what depends on them alone.
  void pack(const int8_t* weights, const float* scales) {
    const size_t taps = window_.time.taps;
    const size_t column_taps = window_.columns.taps;
    weights_.assign(taps * strips_ * column_taps * groups_ * kConvGroupBytes, 0);
    weight_sums_.assign(taps * strips_ * kConvStrip, 0);
    weight_scales_.assign(taps * strips_ * kConvStrip, 0.0f);
    for (size_t output = 0; output < channels_; ++output) {
      const size_t strip = output / kConvStrip;
      for (size_t tap = 0; tap < taps; ++tap) {
        const size_t at = tap * strips_ * kConvStrip + output;
        weight_scales_[at] = scales[output * taps + tap];
        for (size_t input = 0; input < channels_in_; ++input) {
          const int8_t* of_row =
              weights + ((output * channels_in_ + input) * taps + tap) * column_taps;
          for (size_t column = 0; column < column_taps; ++column) {
            const size_t group =
                ((tap * strips_ + strip) * column_taps + column) * groups_ + input / kConvGroup;
            weights_[group * kConvGroupBytes + output % kConvStrip * kConvGroup +
                     input % kConvGroup] = of_row[column];
            weight_sums_[at] += of_row[column];
          }
        }
      }
    }
  }

  // Every element of y is computed by one task in one order, so the number of threads does not
  // change a bit.
  void run(const KernelContext& context, const Tensor& codes, const float* scales,
           const uint8_t* zeros, size_t places_time, float* y) const {
    const PreparedCodes prepared(context, codes, zeros, window_, groups_, kernel_.code_bytes);
    QuantConv2dProblem problem{};
    prepared.fill(problem);
    problem.scales = scales;
    problem.zero_points = zeros;
    problem.time = static_cast<size_t>(codes.shape[1]);
    problem.window = window_;
    problem.places_time = places_time;
    problem.weights = weights_.data();
    problem.groups = groups_;
    problem.strips = strips_;
    problem.weight_sums = weight_sums_.data();
    problem.weight_scales = weight_scales_.data();
    problem.bias = bias_.data();
    problem.channels = channels_;
    problem.activation = activation_;
    problem.y = y;
    const size_t places =
        static_cast<size_t>(codes.shape[0]) * places_time * problem.places_columns;
    const TaskGrid grid(places, kernel_.tile_places * kTilesOfTask, strips_, kernel_.tile_strips,
                        window_.time.taps * window_.columns.taps * groups_ * kConvGroupBytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [of_places, strips] = grid[task];
      kernel_.multiply(problem, of_places, strips);
    });
  }

  const QuantConv2dKernel& kernel_;
  const ConvActivation activation_;
  Window window_{};
  size_t channels_ = 0;
  size_t channels_in_ = 0;
  size_t groups_ = 0;
  size_t strips_ = 0;
  AlignedVector<int8_t> weights_;
  std::vector<int32_t> weight_sums_;
  std::vector<float> weight_scales_;
  std::vector<float> bias_;
};

struct QuantConv2d : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2d";
  explicit QuantConv2d(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kNone) {}
};
struct QuantConv2dRelu : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2dReLU";
  explicit QuantConv2dRelu(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kRelu) {}
};
struct QuantConv2dSilu : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2dSiLU";
  explicit QuantConv2dSilu(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kSilu) {}
};

const OperatorEntry entry{operator_of<QuantConv2d>()};
const OperatorEntry entry_relu{operator_of<QuantConv2dRelu>()};
const OperatorEntry entry_silu{operator_of<QuantConv2dSilu>()};

}  // namespace
}  // namespace confpress
