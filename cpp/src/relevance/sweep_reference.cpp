// The relevance sweep, written to be read: every channel of every sample picture is rendered at both of its values and
// embedded by CLIP, whole picture and whole network each time. It is the permanent ground truth that faster methods are
// held against (StyleCLIP, arXiv 2103.17249, section 6; released code: SingleChannel.py).
//
// For channel c and picture m, with f± the CLIP embedding of the picture rendered with s_c := value±:
//
//     d = unit(f+) − unit(f−)        row_c = unit(Σ_m unit(d))
//
// The batch holds both signs of several pictures of one channel or, where a batch has room for all of them, of several
// channels. Both signs and every picture see the same noise.
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>

#include "relevance/batching.h"
#include "relevance/relevance_sums.h"
#include "relevance/sweep_inputs.h"
#include "styleclip/error.h"
#include "styleclip/relevance.h"

namespace styleclip {
namespace {

// S codes with one channel replaced in each: rows `first` … `first + k − 1` of inputs.moving, pictures m0 … m0 + m − 1.
// [2, k, m, total]; index 0 is plus.
at::Tensor perturbed_codes(const SweepInputs& inputs, std::int64_t first, std::int64_t k, std::int64_t m0,
                           std::int64_t m) {
  const at::Tensor base = inputs.base.narrow(0, m0, m);
  at::Tensor codes = base.expand({2, k, m, base.size(1)}).clone();
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int64_t row = inputs.moving[static_cast<std::size_t>(first + i)];
    const std::int64_t channel = inputs.channels[static_cast<std::size_t>(row)];
    codes.select(0, 0).select(0, i).select(1, channel).copy_(inputs.plus[row].narrow(0, m0, m));
    codes.select(0, 1).select(0, i).select(1, channel).copy_(inputs.minus[row].narrow(0, m0, m));
  }
  return codes;
}

// S codes [2, k, m, total] of pictures m0 … m0 + m − 1 -> embeddings [2, k, m, dim], `batch` pictures a forward. Random
// noise belongs to a picture's number, and a forward has consecutive numbers: there no forward goes past the last one.
at::Tensor embed(Generator& generator, Clip& clip, const at::Tensor& codes, std::int64_t m0, std::int64_t batch,
                 const SweepOptions& options, const RunContext& run) {
  const std::int64_t m = codes.size(2);
  const at::Tensor flat = codes.flatten(0, 2);
  std::vector<at::Tensor> embeddings;
  for (std::int64_t first = 0; first < flat.size(0);) {
    run.check();
    std::int64_t count = std::min(batch, flat.size(0) - first);
    if (options.noise == NoiseMode::Random) count = std::min(count, m - first % m);
    const at::Tensor images =
        generator.synthesis(flat.narrow(0, first, count), options.noise, options.samples.seed, m0 + first % m);
    embeddings.push_back(clip.encode_image(clip.preprocess(images, options.preprocess)));
    first += count;
  }
  return at::cat(embeddings).view({codes.size(0), codes.size(1), m, -1});
}

// The fewest equal parts of at most `largest` each: the size of one.
std::int64_t even_part(std::int64_t total, std::int64_t largest) {
  const std::int64_t parts = (total + largest - 1) / largest;
  return (total + parts - 1) / parts;
}

}  // namespace

RelevanceRows sweep_reference(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                              const SweepOptions& options, const RunContext& run) {
  const auto start = std::chrono::steady_clock::now();
  const c10::NoGradGuard no_grad;
  const SweepInputs inputs = make_sweep_inputs(generator, statistics, options, run);
  const auto moving = static_cast<std::int64_t>(inputs.moving.size());
  const std::int64_t pictures = options.images;

  const std::int64_t batch = choose_batch(options.batch, options.memory_bytes,
                                          picture_bytes(generator.layout(), clip.image_size()), generator.device());
  const std::int64_t pairs = std::max<std::int64_t>(1, batch / 2);  // a batch of 1 renders the two signs one by one
  const std::int64_t pictures_a_block = even_part(pictures, pairs);
  const std::int64_t channels_a_block = std::max<std::int64_t>(1, pairs / pictures_a_block);

  RelevanceSums sums(moving, clip.embedding_dim(), c10::Device(clip.device()));
  ProgressMeter meter(run, "sweep", 2 * moving * pictures, "images");
  for (std::int64_t first = 0; first < moving; first += channels_a_block) {
    const std::int64_t k = std::min(channels_a_block, moving - first);
    for (std::int64_t m0 = 0; m0 < pictures; m0 += pictures_a_block) {
      const std::int64_t m = std::min(pictures_a_block, pictures - m0);
      const at::Tensor codes = perturbed_codes(inputs, first, k, m0, m);
      const at::Tensor f = embed(generator, clip, codes, m0, batch, options, run);
      sums.add(first, f[0], f[1]);
      meter.step(2 * k * m);
    }
    const std::int64_t broken = sums.first_not_finite(first, k);
    if (broken >= 0) {
      const std::int64_t row = inputs.moving[static_cast<std::size_t>(broken)];
      throw Error(ErrorCode::NotFinite,
                  "The pictures of " +
                      channel_name(generator.layout(), inputs.channels[static_cast<std::size_t>(row)]) +
                      " give an embedding that is not finite, or has no length.",
                  "Check both models: render a few pictures and look; in half precision, try float32.");
    }
  }

  RelevanceRows result = finish_rows(sums, inputs.channels, inputs.moving, pictures);
  result.images = 2 * moving * pictures;
  result.implementation = "reference";
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace styleclip
