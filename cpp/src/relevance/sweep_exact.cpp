// The sweep in its fast exact form (architecture notes, "The relevance sweep, the fast exact way"): no approximation in
// real arithmetic, only the order of the sums differs from sweep_reference. Sample pictures are the outer loop: per
// picture the network is folded and run once, then every channel's two pictures are painted from what that run left.
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "relevance/batching.h"
#include "relevance/engines.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "runtime/reused_memory.h"

namespace styleclip {
namespace {

// A picture's noise maps, one a convolution, strength multiplied in; undefined for none.
std::vector<at::Tensor> noise_of(const exact::Network& network, const SweepOptions& options, std::int64_t picture) {
  std::vector<at::Tensor> maps;
  auto stream = static_cast<std::uint32_t>(PhiloxStream::Noise);
  for (const exact::Conv& conv : network.convs) {
    at::Tensor map;
    if (options.noise == NoiseMode::Const) map = conv.noise;
    if (options.noise == NoiseMode::Random && conv.strength != 0) {
      map = at::empty({conv.resolution, conv.resolution}, at::kFloat);
      philox_normal(map.data_ptr<float>(), map.numel(), options.samples.seed, stream,
                    static_cast<std::uint64_t>(picture));
      map = map.to(network.input.device()) * conv.strength;
    }
    maps.push_back(map);
    ++stream;
  }
  return maps;
}

// Rows of a block that belong to one layer: [first, first + count) of the block's own numbering.
struct LayerRows {
  std::size_t layer;
  std::int64_t first, count;
};

std::vector<LayerRows> by_layer(const StyleLayout& layout, const SweepInputs& inputs, const SweepBlock& block) {
  std::vector<LayerRows> parts;
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const std::int64_t row = inputs.moving[static_cast<std::size_t>(block.first_row + i)];
    const std::size_t layer = layout.layer_of(inputs.channels[static_cast<std::size_t>(row)]);
    if (parts.empty() || parts.back().layer != layer) parts.push_back({layer, i, 0});
    ++parts.back().count;
  }
  return parts;
}

// Rows of a block that go through the network together; all of one layer.
struct Chunk {
  std::size_t layer;
  std::int64_t first, k;
};

constexpr std::int64_t kPoolShare = 4;  // of the memory bound: kept for the next chunk

class ExactEngine : public SweepEngine {
 public:
  ExactEngine(const SweepTask& task, exact::Network network)
      : SweepEngine(task),
        network_(std::move(network)),
        clip_(clip_for(task)),
        cpu_(c10::Device(task.generator.device()).is_cpu()),
        // CLIP's own size, so that only its mean and deviation are left to do; the released code's 8-bit roundings need
        // the whole picture.
        canvas_(network_,
                task.options.preprocess == Preprocess::Float ? task.clip.image_size() : task.generator.image_size()),
        settings_{activation_type(task.options.precision), cpu_ ? exact::kCpuTogether : 0},
        pool_((task.options.memory_bytes > 0 ? task.options.memory_bytes : free_memory("cpu") / 4) / kPoolShare) {
    batch_ = std::max<std::int64_t>(2, batch_);
  }

  std::string implementation() const override { return "exact"; }

  void run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter) override {
    const c10::InferenceMode guard;
    const PrecisionGuard precision(task_.options.precision);
    const UseMemoryPool reuse(pool_);
    const std::vector<LayerRows> parts = by_layer(task_.generator.layout(), task_.inputs, block);
    for (std::int64_t i = 0; i < block.pictures; ++i) {
      task_.run.check();
      const std::int64_t picture = block.first_picture + i;
      std::vector<at::Tensor> styles = task_.generator.layout().unflatten(task_.inputs.base.narrow(0, picture, 1));
      for (at::Tensor& style : styles) style = style[0];
      const exact::Painter painter(network_, canvas_, styles, noise_of(network_, task_.options, picture), settings_);
      for (const Chunk& chunk : chunks_of(parts)) {
        task_.run.check();
        sweep_chunk(painter, block, picture, chunk, sums);
        meter.step(2 * chunk.k);
      }
    }
  }

 private:
  std::vector<Chunk> chunks_of(const std::vector<LayerRows>& parts) const {
    std::vector<Chunk> chunks;
    for (const LayerRows& part : parts) {
      for (std::int64_t done = 0; done < part.count; done += chunks.back().k) {
        chunks.push_back({part.layer, part.first + done, std::min(batch_ / 2, part.count - done)});
      }
    }
    return chunks;
  }

  void sweep_chunk(const exact::Painter& painter, const SweepBlock& block, std::int64_t picture, const Chunk& chunk,
                   RelevanceSums& sums) {
    at::Tensor f;
    try {
      f = embed(painter, picture, chunk.layer, block.first_row + chunk.first, chunk.k);
    } catch (...) {
      halve_or_rethrow(2 * chunk.k, 2);
    }
    if (!f.defined()) {
      pool_.trim();
      const std::int64_t half = chunk.k / 2;
      sweep_chunk(painter, block, picture, {chunk.layer, chunk.first, half}, sums);
      sweep_chunk(painter, block, picture, {chunk.layer, chunk.first + half, chunk.k - half}, sums);
      return;
    }
    sums.add(chunk.first, f.narrow(0, 0, chunk.k).unsqueeze(1), f.narrow(0, chunk.k, chunk.k).unsqueeze(1));
    check_finite(sums, block, chunk.first, chunk.k);
  }

  // Embeddings [2 k, dim] of rows first … first + k − 1 of the sweep, which are of one layer: plus first.
  at::Tensor embed(const exact::Painter& painter, std::int64_t picture, std::size_t layer, std::int64_t first,
                   std::int64_t k) {
    const SweepInputs& inputs = task_.inputs;
    const StyleLayer& place = task_.generator.layout().layers[layer];
    const at::Tensor rows = at::tensor(
        at::ArrayRef(inputs.moving).slice(static_cast<std::size_t>(first), static_cast<std::size_t>(k)), at::kLong);
    const at::Tensor here = rows.to(inputs.plus.device());
    const at::Tensor channels =
        (at::tensor(inputs.channels, at::kLong).index_select(0, rows) - place.offset).to(here.device());
    const at::Tensor plus = inputs.plus.select(1, picture).index_select(0, here);
    const at::Tensor minus = inputs.minus.select(1, picture).index_select(0, here);
    // Layers come as [conv, torgb], then [conv, conv, torgb] a block.
    const std::size_t to_rgb = layer < 2 ? 0 : (layer - 2) / 3 + 1;
    const std::size_t conv = layer < 2 ? 0 : layer - to_rgb;
    const at::Tensor painted = place.to_rgb ? painter.paint_to_rgb(to_rgb, channels, plus, minus)
                                            : painter.paint_conv(conv, channels, plus, minus);
    return clip_->encode_image(clip_->preprocess(painted, task_.options.preprocess));
  }

  // CLIP in the sweep's type: the one given, or a copy.
  static std::shared_ptr<Clip> clip_for(const SweepTask& task) {
    const Precision precision = task.options.precision;
    const std::string wanted = precision == Precision::TF32 ? "float32" : precision_name(precision);
    if (task.clip.dtype() == wanted) return {std::shared_ptr<Clip>(), &task.clip};
    return task.clip.converted(wanted);
  }

  exact::Network network_;
  std::shared_ptr<Clip> clip_;
  bool cpu_;
  exact::Canvas canvas_;
  exact::PainterSettings settings_;
  MemoryPool pool_;
};

}  // namespace

std::unique_ptr<SweepEngine> make_exact_engine(const SweepTask& task) {
  const c10::InferenceMode guard;
  const bool cpu = c10::Device(task.generator.device()).is_cpu();
  if (cpu && task.options.precision == Precision::TF32) {
    throw Error(ErrorCode::Argument,
                "The precision tf32 is NVIDIA's, and the models are on " + task.generator.device() + ".",
                "Use float32, or bfloat16 where the processor has it.");
  }
  std::optional<exact::Network> network = exact::read_network(task.generator);
  if (!network) {
    const Precision precision = task.options.precision;
    if (precision != Precision::Float32 && precision_name(precision) != task.generator.dtype()) {
      throw Error(
          ErrorCode::Argument,
          "This generator cannot be taken apart, so the sweep computes in its own " + task.generator.dtype() + ".",
          "Load the models in " + precision_name(precision) + ", or leave the precision out.");
    }
    return make_reference_engine(task);
  }
  return std::make_unique<ExactEngine>(task, std::move(*network));
}

}  // namespace styleclip
