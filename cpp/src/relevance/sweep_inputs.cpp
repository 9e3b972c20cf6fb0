// Preparing a sweep (released code: SingleChannel.py, GetCodeMS and the lines before it). The released loop writes
// mean_c into the shared base codes and never takes it back, so that its pictures drift towards the mean as the sweep
// goes on (styleclip.md A.3); here the base codes stay what they were, and every channel is measured on the same
// pictures.
#include "relevance/sweep_inputs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kBlock = 256;  // latents drawn at a time

void check_options(const SweepOptions& options) {
  if (options.images < 1) {
    throw Error(ErrorCode::Range, "A sweep over " + std::to_string(options.images) + " pictures.",
                "Use 1 or more; the field's default is 100.");
  }
  if (!(options.sigmas > 0) || !std::isfinite(options.sigmas)) {
    throw Error(ErrorCode::Range, "The perturbation is not a positive, finite number of standard deviations.",
                "Use 5 (faces, the field's default) to 10.");
  }
  if (options.batch < 0 || options.memory_bytes < 0) {
    throw Error(ErrorCode::Range, "A negative batch size or memory bound.", "Use 0 to have it chosen.");
  }
  check_sample_settings(options.samples);
}

void check_statistics(const StyleLayout& layout, const StyleStatistics& statistics) {
  for (const at::Tensor& values : {statistics.mean, statistics.sigma}) {
    if (values.defined() && values.dim() == 1 && values.size(0) == layout.total()) continue;
    throw Error(ErrorCode::Shape,
                "The style statistics hold " + std::to_string(values.defined() ? values.numel() : 0) +
                    " numbers, the generator has " + std::to_string(layout.total()) + " style channels.",
                "Use statistics made with this generator.");
  }
  check_finite_styles(layout, statistics.mean, "mean");
  check_finite_styles(layout, statistics.sigma, "standard deviation");
  if (statistics.sigma.min().item<double>() < 0) {
    throw Error(ErrorCode::Range,
                "The standard deviation of " + channel_name(layout, statistics.sigma.argmin().item<std::int64_t>()) +
                    " is negative.",
                "Use statistics made with this generator.");
  }
}

// The channels of the layers asked for, or those of them that are named.
std::vector<std::int64_t> chosen_channels(const StyleLayout& layout, const SweepOptions& options) {
  std::vector<std::int64_t> all = layout.select(options.layers);
  if (options.channels.empty()) return all;
  for (std::size_t i = 0; i < options.channels.size(); ++i) {
    const std::int64_t channel = options.channels[i];
    const bool ascending = i == 0 || options.channels[i - 1] < channel;
    if (ascending && std::binary_search(all.begin(), all.end(), channel)) continue;
    throw Error(ErrorCode::Argument,
                "Style channel " + std::to_string(channel) +
                    (ascending ? " is not in the layers that are swept." : " is out of order."),
                "Name channels of these layers by their place in S, each once, in ascending order.");
  }
  return options.channels;
}

at::Tensor sample_base(Generator& generator, const SweepOptions& options, const RunContext& run) {
  std::vector<at::Tensor> blocks;
  for (std::int64_t first = 0; first < options.images; first += kBlock) {
    run.check();
    blocks.push_back(sample_styles(generator, std::min(kBlock, options.images - first), first, options.samples));
  }
  const at::Tensor base = at::cat(blocks);
  check_finite_styles(generator.layout(), base, "style");
  return base;
}

}  // namespace

std::string channel_name(const StyleLayout& layout, std::int64_t channel) {
  const StyleLayer& layer = layout.layers[layout.layer_of(channel)];
  return layer.name + " channel " + std::to_string(channel - layer.offset);
}

void check_finite_styles(const StyleLayout& layout, const at::Tensor& values, const std::string& what) {
  const at::Tensor finite = at::isfinite(values);
  const at::Tensor by_channel = values.dim() == 2 ? finite.all(0) : finite;
  if (by_channel.all().item<bool>()) return;
  const std::int64_t channel = by_channel.to(at::kByte).argmin().item<std::int64_t>();
  throw Error(ErrorCode::NotFinite, "The " + what + " of " + channel_name(layout, channel) + " is not a finite number.",
              "The generator's weights, or the statistics given, are damaged.");
}

SweepInputs make_sweep_inputs(Generator& generator, const StyleStatistics& statistics, const SweepOptions& options,
                              const RunContext& run) {
  const StyleLayout& layout = generator.layout();
  check_options(options);
  check_statistics(layout, statistics);

  SweepInputs inputs;
  inputs.channels = chosen_channels(layout, options);
  inputs.base = sample_base(generator, options, run);

  const at::Tensor index = at::tensor(inputs.channels, at::kLong).to(inputs.base.device());
  const auto chosen = [&](const at::Tensor& values) {
    return values.to(inputs.base.device(), at::kDouble).index_select(-1, index);
  };
  const at::Tensor step = chosen(statistics.sigma).unsqueeze(1) * options.sigmas;  // [n, 1]
  const at::Tensor centre =                                                        // [n, images]
      options.perturbation == Perturbation::Absolute ? chosen(statistics.mean).unsqueeze(1).expand({-1, options.images})
                                                     : chosen(inputs.base).t();
  inputs.plus = (centre + step).to(at::kFloat);
  inputs.minus = (centre - step).to(at::kFloat);

  const at::Tensor moving = (inputs.plus != inputs.minus).any(1).nonzero().squeeze(1).to(at::kCPU);
  inputs.moving.assign(moving.const_data_ptr<std::int64_t>(), moving.const_data_ptr<std::int64_t>() + moving.numel());
  return inputs;
}

}  // namespace styleclip
