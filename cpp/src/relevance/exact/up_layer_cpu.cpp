// See up_layer_cpu.h. With g_b[j] the product of source pixel j and tap b (one axis), the transposed convolution is
// t[2j + b] += g_b[j], and the filter y[p] = Σ_k f[k] t[p + k - 1]; so
//   y[2j]     = f0 g1[j-1] + f1 (g0[j] + g2[j-1]) + f2 g1[j] + f3 (g0[j+1] + g2[j])
//   y[2j + 1] = f0 (g0[j] + g2[j-1]) + f1 g1[j] + f2 (g0[j+1] + g2[j]) + f3 g1[j+1]
// first across, for each of the three taps down, then down.
#include "relevance/exact/up_layer_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/numbers_cpu.h"
#include "relevance/exact/layers.h"

namespace styleclip::exact {
namespace {

constexpr std::int64_t kStripBytes = 1 << 19;  // of products at a time: a part of the second cache

struct Shape {
  std::int64_t side, channels;  // of the source; of the result
};

// A source row of products [side, 3, 3, channels], one of its taps down -> a line of 2 side pixels.
template <typename T>
STYLECLIP_INLINE void filter_across(const T* __restrict products, const Shape& shape, const float* __restrict f,
                                    float* __restrict line) {
  const std::int64_t channels = shape.channels, stride = 9 * channels;
  const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
  for (std::int64_t j = 0; j < shape.side; ++j) {
    const T* here = products + j * stride;
    float* __restrict even = line + 2 * j * channels;
    float* __restrict odd = even + channels;
    const float before_on = j > 0 ? 1.0F : 0.0F, after_on = j + 1 < shape.side ? 1.0F : 0.0F;
    const T* before = j > 0 ? here - stride : here;
    const T* after = j + 1 < shape.side ? here + stride : here;
    for (std::int64_t o = 0; o < channels; ++o) {
      const float left = to_float(here[o]) + before_on * to_float(before[2 * channels + o]);  // t[2j]
      const float centre = to_float(here[channels + o]);                                      // t[2j + 1]
      const float right = after_on * to_float(after[o]) + to_float(here[2 * channels + o]);   // t[2j + 2]
      const float first = before_on * to_float(before[channels + o]);                         // t[2j - 1]
      const float last = after_on * to_float(after[channels + o]);                            // t[2j + 3]
      even[o] = f0 * first + f1 * left + f2 * centre + f3 * right;
      odd[o] = f0 * left + f1 * centre + f2 * right + f3 * last;
    }
  }
}

// What is added to the filtered rows.
struct Additions {
  const float* noise = nullptr;  // [2 side, 2 side], or none
  const float* bias = nullptr;   // [channels]
  float limit = 0;
};

// The same downwards, for two rows of the result: lines of three source rows, each [3 taps down, width, channels]; null
// beyond the edges. `sums` [channels]: room for a pixel's noise and bias.
template <typename T>
STYLECLIP_INLINE void filter_down(const float* before, const float* here, const float* after, std::int64_t row,
                                  const Shape& shape, const float* __restrict f, const Additions& additions,
                                  T* __restrict y) {
  const std::int64_t width = 2 * shape.side, channels = shape.channels, plane = width * channels;
  const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], limit = additions.limit;
  const float before_on = before != nullptr ? 1.0F : 0.0F, after_on = after != nullptr ? 1.0F : 0.0F;
  const float* __restrict middle = here;
  const float* __restrict above = before != nullptr ? before : here;
  const float* __restrict below = after != nullptr ? after : here;
  const float* __restrict bias = additions.bias;
  for (std::int64_t x = 0; x < width; ++x) {
    const float* noise = additions.noise == nullptr ? nullptr : additions.noise + 2 * row * width + x;
    const float noise_even = noise == nullptr ? 0.0F : noise[0], noise_odd = noise == nullptr ? 0.0F : noise[width];
    T* __restrict even = y + (2 * row * width + x) * channels;
    T* __restrict odd = y + ((2 * row + 1) * width + x) * channels;
    const std::int64_t at = x * channels;
    for (std::int64_t o = 0; o < channels; ++o) {
      const std::int64_t i = at + o;
      const float top = middle[i] + before_on * above[2 * plane + i];
      const float centre = middle[plane + i];
      const float bottom = after_on * below[i] + middle[2 * plane + i];
      const float first = before_on * above[plane + i];
      const float last = after_on * below[plane + i];
      const float first_row = f0 * first + f1 * top + f2 * centre + f3 * bottom + (noise_even + bias[o]);
      const float second_row = f0 * top + f1 * centre + f2 * bottom + f3 * last + (noise_odd + bias[o]);
      even[o] = from_float<T>(activated(first_row, limit));
      odd[o] = from_float<T>(activated(second_row, limit));
    }
  }
}

// One body for several instruction sets and number types; a type's name is its own overload.
// NOLINTBEGIN(bugprone-macro-parentheses): T is a type
#define STYLECLIP_UP_LAYER(T)                                                                                  \
  STYLECLIP_VECTORISED void across(const T* products, const Shape& shape, const float* f, float* line) {       \
    filter_across<T>(products, shape, f, line);                                                                \
  }                                                                                                            \
  STYLECLIP_VECTORISED void down(const float* before, const float* here, const float* after, std::int64_t row, \
                                 const Shape& shape, const float* f, const Additions& additions, T* y) {       \
    filter_down<T>(before, here, after, row, shape, f, additions, y);                                          \
  }
STYLECLIP_UP_LAYER(float)
STYLECLIP_UP_LAYER(c10::BFloat16)
STYLECLIP_UP_LAYER(c10::Half)
#undef STYLECLIP_UP_LAYER
// NOLINTEND(bugprone-macro-parentheses)

// One picture: source rows come strip by strip, and each makes two rows of the result once its successor is there.
template <typename T>
class UpSampler {
 public:
  UpSampler(const Shape& shape, const float* filter, const Additions& additions)
      : shape_(shape),
        filter_(filter),
        additions_(additions),
        lines_(static_cast<std::size_t>(3 * 3 * 2 * shape.side * shape.channels)) {}

  void start(T* y) {
    y_ = y;
    done_ = 0;
  }
  void add_rows(const T* products, std::int64_t rows) {
    for (std::int64_t i = 0; i < rows; ++i, ++done_) {
      for (std::int64_t tap = 0; tap < 3; ++tap) {
        across(products + (i * shape_.side * 9 + tap * 3) * shape_.channels, shape_, filter_,
               line(done_) + tap * 2 * shape_.side * shape_.channels);
      }
      if (done_ > 0) write(done_ - 1);
    }
  }
  void finish() { write(shape_.side - 1); }

 private:
  float* line(std::int64_t row) { return lines_.data() + (row % 3) * 3 * 2 * shape_.side * shape_.channels; }
  void write(std::int64_t row) {
    down(row > 0 ? line(row - 1) : nullptr, line(row), row + 1 < shape_.side ? line(row + 1) : nullptr, row, shape_,
         filter_, additions_, y_);
  }

  Shape shape_;
  const float* filter_;
  Additions additions_;
  std::vector<float> lines_;  // of three source rows
  T* y_ = nullptr;
  std::int64_t done_ = 0;
};

template <typename T>
void run(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y) {
  const std::int64_t n = x.size(0), inputs = x.size(1), side = x.size(2), outputs = folded.conv->outputs;
  const at::Tensor pixels = x.permute({0, 2, 3, 1}).reshape({n * side, side, inputs});  // a source row each
  const std::int64_t strip =
      std::clamp<std::int64_t>(kStripBytes / (side * 9 * outputs * static_cast<std::int64_t>(sizeof(T))), 1, side);
  const Shape shape{side, outputs};
  const float* filter = folded.conv->filter.const_data_ptr<float>();
  const Additions additions{folded.noise.defined() ? folded.noise.const_data_ptr<float>() : nullptr,
                            folded.bias.const_data_ptr<float>(), static_cast<float>(folded.limit)};
  T* to = y.mutable_data_ptr<T>();
  at::parallel_for(0, n, 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode guard;
    const at::Tensor products = at::empty({strip * side, 9 * outputs}, x.options(), at::MemoryFormat::Contiguous);
    UpSampler<T> sampler(shape, filter, additions);
    for (std::int64_t i = begin; i < end; ++i) {
      sampler.start(to + i * 4 * side * side * outputs);
      for (std::int64_t row = 0; row < side; row += strip) {
        const std::int64_t rows = std::min(strip, side - row);
        at::Tensor part = products.narrow(0, 0, rows * side);
        at::mm_out(part, pixels.narrow(0, i * side + row, rows).view({rows * side, inputs}), folded.weight);
        sampler.add_rows(part.const_data_ptr<T>(), rows);
      }
      sampler.finish();
    }
  });
}

}  // namespace

at::Tensor up_layer_weight(const at::Tensor& weight, at::ScalarType type) {
  return weight.permute({1, 2, 3, 0}).reshape({weight.size(1), 9 * weight.size(0)}).to(type).contiguous();
}

void up_layer_cpu(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "up_layer_cpu", [&] {
    if constexpr (!std::is_same_v<scalar_t, double>) run<scalar_t>(folded, x, y);
  });
}

}  // namespace styleclip::exact
