// See up_layer_cpu.h. With g_b[j] the product of source pixel j and tap b (one axis), the transposed convolution is
// t[2j] = g0[j] + g2[j-1], t[2j+1] = g1[j], and the filter
//   y[2j]     = f0 t[2j-1] + f1 t[2j]   + f2 t[2j+1] + f3 t[2j+2]
//   y[2j + 1] = f0 t[2j]   + f1 t[2j+1] + f2 t[2j+2] + f3 t[2j+3]
// so the products of pixel j complete the results of pixel j - 1. Across, what is left over from one pixel to the next stays
// in registers; downwards, in buffers of one row that stay in the first cache, since a strip of rows is done for a register's
// width of channels after the other.
#include "relevance/exact/up_layer_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#ifdef STYLECLIP_INSTRUCTION_SETS
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "ops/numbers_cpu.h"
#include "relevance/exact/layers.h"

namespace styleclip::exact {
namespace {

constexpr std::int64_t kStripBytes = 1 << 19;  // of products at a time: a part of the second cache

// Some channels of a picture, a register's width or, at the end, fewer; pointers are to the first of them.
struct Block {
  std::int64_t side, channels, count;  // of the source; of the result; of this block
  const float* filter;                 // [4]
  const float* bias;                   // or null: the linear part alone is wanted
  const float* noise;                  // [2 side, 2 side], or null
  float limit;
};

// What is pending downwards: [2 side, lanes] each.
struct PendingRows {
  float *third, *second, *last, *part;
};

// Two rows of the result, and their noise.
template <typename T>
struct RowPair {
  T* y = nullptr;
  const float* noise = nullptr;
};

template <typename T>
using FilterBlock = void (*)(const T*, std::int64_t, std::int64_t, const Block&, const PendingRows&, T*);

#define STYLECLIP_LOOPS "relevance/exact/up_layer_lanes.h"
#include "ops/each_instruction_set.h"

template <typename T>
struct Lanes {
  std::int64_t width;
  FilterBlock<T> filter;
};

template <typename T>
Lanes<T> lanes(Instructions instructions) {
#ifdef STYLECLIP_INSTRUCTION_SETS
  if (instructions == Instructions::Avx512Bf16) return {avx512_bf16::kLanes, avx512_bf16::filter_block};
  if (instructions == Instructions::Avx512) return {avx512::kLanes, avx512::filter_block};
  if (instructions == Instructions::Avx2) return {avx2::kLanes, avx2::filter_block};
#endif
  return {plain::kLanes, plain::filter_block};
}

// One picture: source rows come strip by strip; each completes the two rows of the result that its predecessor began.
template <typename T>
class UpSampler {
 public:
  UpSampler(const FoldedConv& folded, std::int64_t side, Instructions instructions)
      : lanes_(lanes<T>(instructions)),
        whole_{side,
               folded.conv->outputs,
               0,
               folded.conv->filter.const_data_ptr<float>(),
               folded.bias.defined() ? folded.bias.const_data_ptr<float>() : nullptr,
               folded.noise.defined() ? folded.noise.const_data_ptr<float>() : nullptr,
               static_cast<float>(folded.limit)},
        blocks_((whole_.channels + lanes_.width - 1) / lanes_.width),
        pending_(static_cast<std::size_t>(blocks_ * 4 * plane())) {}

  void start(T* y) {
    y_ = y;
    done_ = 0;
    std::fill(pending_.begin(), pending_.end(), 0.0F);
  }
  void add_rows(const T* products, std::int64_t rows) {
    for (std::int64_t i = 0; i < blocks_; ++i) {
      const std::int64_t first = i * lanes_.width;
      Block block = whole_;
      block.count = std::min(lanes_.width, whole_.channels - first);
      if (block.bias != nullptr) block.bias += first;
      float* pending = pending_.data() + i * 4 * plane();
      PendingRows here{pending, pending + plane(), pending + 2 * plane(), pending + 3 * plane()};
      if (done_ % 2 == 1) std::swap(here.third, here.last);
      lanes_.filter(products == nullptr ? nullptr : products + first, done_, rows, block, here, y_ + first);
    }
    done_ += rows;
  }
  void finish() { add_rows(nullptr, 1); }

 private:
  std::int64_t plane() const { return 2 * whole_.side * lanes_.width; }

  Lanes<T> lanes_;
  Block whole_;
  std::int64_t blocks_;
  std::vector<float> pending_;
  T* y_ = nullptr;
  std::int64_t done_ = 0;  // source rows
};

template <typename T>
void run(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y, Instructions instructions) {
  const std::int64_t n = x.size(0), inputs = x.size(1), side = x.size(2), outputs = folded.conv->outputs;
  const at::Tensor pixels = x.permute({0, 2, 3, 1}).reshape({n * side * side, inputs});
  // Source rows at a time; small pictures share a product.
  const std::int64_t strip =
      std::clamp<std::int64_t>(kStripBytes / (side * 9 * outputs * static_cast<std::int64_t>(sizeof(T))), 1, n * side);
  T* to = y.mutable_data_ptr<T>();
  at::parallel_for(0, n, 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode guard;
    const at::Tensor products = at::empty({strip * side, 9 * outputs}, x.options(), at::MemoryFormat::Contiguous);
    UpSampler<T> sampler(folded, side, instructions);
    for (std::int64_t first = begin * side; first < end * side; first += strip) {
      const std::int64_t last = std::min(first + strip, end * side);
      at::Tensor part = products.narrow(0, 0, (last - first) * side);
      at::mm_out(part, pixels.narrow(0, first * side, (last - first) * side), folded.weight);
      const T* from = part.const_data_ptr<T>();
      for (std::int64_t row = first; row < last;) {
        const std::int64_t picture = row / side, rows = std::min(last, (picture + 1) * side) - row;
        if (row % side == 0) sampler.start(to + picture * 4 * side * side * outputs);
        sampler.add_rows(from + (row - first) * side * 9 * outputs, rows);
        row += rows;
        if (row % side == 0) sampler.finish();
      }
    }
  });
}

}  // namespace

at::Tensor up_layer_weight(const at::Tensor& weight, at::ScalarType type) {
  return weight.permute({1, 2, 3, 0}).reshape({weight.size(1), 9 * weight.size(0)}).to(type).contiguous();
}

std::int64_t up_layer_cpu_bytes(const Conv& conv, std::int64_t element_bytes) {
  const std::int64_t side = conv.resolution / 2, row = side * 9 * conv.outputs * element_bytes;
  // Four rows pending of twice the side, of channels rounded up to the widest register.
  const std::int64_t pending = 4 * 2 * side * (conv.outputs + 15) * static_cast<std::int64_t>(sizeof(float));
  return std::max(kStripBytes, row) + pending;
}

void up_layer_cpu(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y) {
  up_layer_cpu(folded, x, y, widest_instructions());
}

void up_layer_cpu(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y, Instructions instructions) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "up_layer_cpu", [&] {
    if constexpr (!std::is_same_v<scalar_t, double>) run<scalar_t>(folded, x, y, instructions);
  });
}

}  // namespace styleclip::exact
