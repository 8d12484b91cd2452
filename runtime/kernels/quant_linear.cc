// QuantLinear: Y = activation(X Wᵀ + b), int8 weights and activations; passes/quantlinear.py
// defines it and draws its layout.
#include <algorithm>

#include "cpu_path.h"
#include "custom_op.h"
#include "linear_int8.h"
#include "task_grid.h"

namespace confpress {
namespace {

// A task multiplies this many tiles of frames with one tile of strips: a microsecond or more.
constexpr size_t kTilesOfTask = 4;
constexpr size_t kQuantizeFrames = 8;
constexpr size_t kCacheLine = 64;

const LinearInt8Kernel& kernel_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vnni:
      return kLinearInt8Avx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvx2:
      return kLinearInt8Avx2;
#endif
    default:
      return kLinearInt8Portable;
  }
}

void require(const Tensor& tensor, const char* name, ort::ElementType type,
             const std::vector<int64_t>& shape) {
  if (tensor.type != type) {
    throw Error(std::string("QuantLinear's input ") + name + " has the wrong element type.");
  }
  if (tensor.shape != shape) {
    throw Error(std::string("QuantLinear's input ") + name + " has the shape " +
                text_of(tensor.shape) + " where its weight's shape asks for " + text_of(shape) +
                ".");
  }
}

// A copy with zeros up to the end of the last strip, so that kernels read whole registers.
template <class T>
std::vector<T> padded(const T* values, size_t count, size_t size) {
  std::vector<T> copy(size, T{0});
  std::copy_n(values, count, copy.begin());
  return copy;
}

class QuantLinearBase {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kFloat, ort::kFloat};

  QuantLinearBase(const KernelInfo& info, Activation activation)
      : kernel_(kernel_of(cpu_path_choice().chosen.path)), activation_(activation) {
    const std::vector<int64_t> shape = info.ints("shape");
    if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > INT32_MAX ||
        shape[1] > kMostColumns) {
      throw Error("QuantLinear's attribute shape is " + text_of(shape) +
                  " where it must be [N, K] with N at least 1 and K from 1 to " +
                  std::to_string(kMostColumns) + ".");
    }
    rows_ = static_cast<size_t>(shape[0]);
    columns_ = static_cast<size_t>(shape[1]);
    strips_ = ceil_div(rows_, kStripRows);
    groups_ = ceil_div(columns_, kGroupColumns);

    const Tensor weights = info.constant(1, "W");
    const Tensor scales = info.constant(2, "scales");
    const Tensor bias = info.constant(3, "bias");
    require(
        weights, "W", ort::kInt8,
        {static_cast<int64_t>(strips_), static_cast<int64_t>(groups_), kStripRows, kGroupColumns});
    require(scales, "scales", ort::kFloat, {shape[0]});
    require(bias, "bias", ort::kFloat, {shape[0]});
    weights_ = weights.as<int8_t>();
    scales_ = padded(scales.as<float>(), rows_, strips_ * kStripRows);
    bias_ = padded(bias.as<float>(), rows_, strips_ * kStripRows);
    offsets_ = offsets();
  }

  void compute(KernelContext& context) const {
    const Tensor x = context.input(0);
    if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(columns_)) {
      throw Error("QuantLinear's input X has the shape " + text_of(x.shape) +
                  " where its last dimension must be " + std::to_string(columns_) + ".");
    }
    std::vector<int64_t> shape = x.shape;
    shape.back() = static_cast<int64_t>(rows_);
    float* y = context.output(0, shape);
    size_t frames = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) frames *= static_cast<size_t>(shape[i]);
    if (frames > 0) run(context, x.as<float>(), frames, y);
  }

 private:
  // What the kernels' stored codes add by their zero point, taken off again.
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> values(strips_ * kStripRows, 0);
    const int8_t* w = weights_;
    for (size_t strip = 0; strip < strips_; ++strip) {
      for (size_t group = 0; group < groups_; ++group) {
        for (size_t row = 0; row < kStripRows; ++row, w += kGroupColumns) {
          values[strip * kStripRows + row] -=
              kernel_.quantizer->zero_point * (w[0] + w[1] + w[2] + w[3]);
        }
      }
    }
    return values;
  }

  // An odd number of cache lines, so that the frames of a tile do not fall into the same sets.
  size_t codes_stride() const {
    const size_t bytes = ceil_div(columns_, kCodeRun) * kCodeRun * kernel_.quantizer->code_bytes;
    return (ceil_div(bytes, kCacheLine) | 1) * kCacheLine;
  }

  // Quantises all frames, then multiplies. Every element of y is computed by one task in one order
  // of integer additions, so the number of threads does not change a bit.
  void run(const KernelContext& context, const float* x, size_t frames, float* y) const {
    const FrameQuantizer& quantizer = *kernel_.quantizer;
    const size_t stride = codes_stride();
    const KernelContext::Scratch scratch(context, frames * (stride + sizeof(float)));
    std::byte* codes = scratch.data();
    auto* frame_scales = reinterpret_cast<float*>(codes + frames * stride);

    context.parallel_for(ceil_div(frames, kQuantizeFrames), [&](size_t task) noexcept {
      const size_t end = std::min(frames, (task + 1) * kQuantizeFrames);
      for (size_t frame = task * kQuantizeFrames; frame < end; ++frame) {
        quantizer.quantize(x + frame * columns_, columns_, codes + frame * stride,
                           frame_scales + frame);
      }
    });

    const LinearInt8Problem problem{codes,   stride,          frame_scales,   weights_,
                                    groups_, offsets_.data(), scales_.data(), bias_.data(),
                                    y,       rows_,           activation_};
    const TaskGrid grid(frames, kernel_.tile_frames * kTilesOfTask, strips_, kernel_.tile_strips,
                        groups_ * kGroupBytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [frame_range, strip_range] = grid[task];
      kernel_.multiply(problem, frame_range, strip_range);
    });
  }

  const LinearInt8Kernel& kernel_;
  const Activation activation_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  size_t strips_ = 0;
  size_t groups_ = 0;
  const int8_t* weights_ = nullptr;  // the initializer's own memory
  std::vector<float> scales_;
  std::vector<float> bias_;
  std::vector<int32_t> offsets_;
};

struct QuantLinear : QuantLinearBase {
  static constexpr const char* kName = "QuantLinear";
  explicit QuantLinear(const KernelInfo& info) : QuantLinearBase(info, Activation::kNone) {}
};

struct QuantLinearSilu : QuantLinearBase {
  static constexpr const char* kName = "QuantLinearSiLU";
  explicit QuantLinearSilu(const KernelInfo& info) : QuantLinearBase(info, Activation::kSilu) {}
};

const OperatorEntry entry{operator_of<QuantLinear>()};
const OperatorEntry entry_silu{operator_of<QuantLinearSilu>()};

}  // namespace
}  // namespace confpress
