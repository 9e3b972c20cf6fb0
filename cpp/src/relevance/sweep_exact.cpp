// The sweep in its fast exact form (architecture notes, "The relevance sweep, the fast exact way"): no approximation in
// real arithmetic, only the order of the sums differs from sweep_reference. Sample pictures are the outer loop: per
// picture the network is folded and run once, then every channel's two pictures are painted from what that run left.
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "relevance/batching.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "relevance/relevance_sums.h"
#include "relevance/sweep_inputs.h"
#include "runtime/philox.h"
#include "styleclip/error.h"
#include "styleclip/relevance.h"

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

// Rows of the sums that belong to one layer: [first, first + count) of inputs.moving.
struct Block {
  std::size_t layer;
  std::int64_t first, count;
};

std::vector<Block> blocks_of(const StyleLayout& layout, const SweepInputs& inputs) {
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < inputs.moving.size(); ++i) {
    const std::size_t layer = layout.layer_of(inputs.channels[static_cast<std::size_t>(inputs.moving[i])]);
    if (blocks.empty() || blocks.back().layer != layer) blocks.push_back({layer, static_cast<std::int64_t>(i), 0});
    ++blocks.back().count;
  }
  return blocks;
}

class ExactSweep {
 public:
  ExactSweep(exact::Network network, Generator& generator, Clip& clip, const StyleStatistics& statistics,
             const SweepOptions& options, const RunContext& run)
      : generator_(generator),
        clip_(clip),
        options_(options),
        run_(run),
        network_(std::move(network)),
        // CLIP's own size, so that only its mean and deviation are left to do; the released code's 8-bit roundings need
        // the whole picture.
        canvas_(network_, options.preprocess == Preprocess::Float ? clip.image_size() : generator.image_size()),
        inputs_(make_sweep_inputs(generator, statistics, options, run)),
        blocks_(blocks_of(generator.layout(), inputs_)),
        sums_(static_cast<std::int64_t>(inputs_.moving.size()), clip.embedding_dim(), c10::Device(clip.device())) {
    const std::int64_t bytes = picture_bytes(generator.layout(), clip.image_size());
    batch_ = std::max<std::int64_t>(2, choose_batch(options.batch, options.memory_bytes, bytes, generator.device()));
  }

  RelevanceRows run() {
    const auto start = std::chrono::steady_clock::now();
    const auto moving = static_cast<std::int64_t>(inputs_.moving.size());
    ProgressMeter meter(run_, "sweep", 2 * moving * options_.images, "images");
    for (std::int64_t picture = 0; picture < options_.images; ++picture) sweep_picture(picture, meter);
    RelevanceRows result = finish_rows(sums_, inputs_.channels, inputs_.moving, options_.images);
    result.images = 2 * moving * options_.images;
    result.implementation = "exact";
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

 private:
  void sweep_picture(std::int64_t picture, ProgressMeter& meter) {
    run_.check();
    std::vector<at::Tensor> styles = generator_.layout().unflatten(inputs_.base.narrow(0, picture, 1));
    for (at::Tensor& style : styles) style = style[0];
    const exact::Painter painter(network_, canvas_, styles, noise_of(network_, options_, picture));
    for (const Block& block : blocks_) {
      for (std::int64_t done = 0; done < block.count; done += batch_ / 2) {
        run_.check();
        const std::int64_t k = std::min(batch_ / 2, block.count - done);
        sweep_channels(painter, picture, block.layer, block.first + done, k);
        meter.step(2 * k);
      }
    }
  }

  void sweep_channels(const exact::Painter& painter, std::int64_t picture, std::size_t layer, std::int64_t first,
                      std::int64_t k) {
    const StyleLayer& place = generator_.layout().layers[layer];
    const at::Tensor rows = at::tensor(
        at::ArrayRef(inputs_.moving).slice(static_cast<std::size_t>(first), static_cast<std::size_t>(k)), at::kLong);
    const at::Tensor here = rows.to(inputs_.plus.device());
    const at::Tensor channels =
        (at::tensor(inputs_.channels, at::kLong).index_select(0, rows) - place.offset).to(here.device());
    const at::Tensor plus = inputs_.plus.select(1, picture).index_select(0, here);
    const at::Tensor minus = inputs_.minus.select(1, picture).index_select(0, here);
    // Layers come as [conv, torgb], then [conv, conv, torgb] a block.
    const std::size_t to_rgb = layer < 2 ? 0 : (layer - 2) / 3 + 1;
    const std::size_t conv = layer < 2 ? 0 : layer - to_rgb;
    const at::Tensor painted = place.to_rgb ? painter.paint_to_rgb(to_rgb, channels, plus, minus)
                                            : painter.paint_conv(conv, channels, plus, minus);
    const at::Tensor f = clip_.encode_image(clip_.preprocess(painted, options_.preprocess));
    sums_.add(first, f.narrow(0, 0, k).unsqueeze(1), f.narrow(0, k, k).unsqueeze(1));
    const std::int64_t broken = sums_.first_not_finite(first, k);
    if (broken < 0) return;
    const std::int64_t row = inputs_.moving[static_cast<std::size_t>(broken)];
    throw Error(ErrorCode::NotFinite,
                "The pictures of " +
                    channel_name(generator_.layout(), inputs_.channels[static_cast<std::size_t>(row)]) +
                    " give an embedding that is not finite, or has no length.",
                "Check both models: render a few pictures and look.");
  }

  Generator& generator_;
  Clip& clip_;
  const SweepOptions& options_;
  const RunContext& run_;
  exact::Network network_;
  exact::Canvas canvas_;
  SweepInputs inputs_;
  std::vector<Block> blocks_;
  RelevanceSums sums_;
  std::int64_t batch_ = 2;
};

}  // namespace

RelevanceRows sweep_exact(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                          const SweepOptions& options, const RunContext& run) {
  const c10::InferenceMode guard;
  const bool plain = c10::Device(generator.device()).is_cpu() && generator.dtype() == "float32";
  std::optional<exact::Network> network = plain ? exact::read_network(generator) : std::nullopt;
  if (!network) return sweep_reference(generator, clip, statistics, options, run);
  return ExactSweep(std::move(*network), generator, clip, statistics, options, run).run();
}

}  // namespace styleclip
