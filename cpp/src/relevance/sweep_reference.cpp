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

#include "relevance/engines.h"
#include "relevance/precision.h"
#include "relevance/working_memory.h"
#include "runtime/reused_memory.h"

namespace styleclip {
namespace {

// S codes with one channel replaced in each: rows[0] … rows[k − 1] of inputs.moving, pictures m0 … m0 + m − 1.
// [2, k, m, total]; index 0 is plus.
at::Tensor perturbed_codes(const SweepInputs& inputs, const std::int64_t* rows, std::int64_t k, std::int64_t m0,
                           std::int64_t m) {
  const at::Tensor base = inputs.base.narrow(0, m0, m);
  at::Tensor codes = base.expand({2, k, m, base.size(1)}).clone();
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int64_t row = inputs.moving[static_cast<std::size_t>(rows[i])];
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
  std::vector<at::Tensor> pictures, embeddings;
  for (std::int64_t first = 0; first < flat.size(0);) {
    run.check();
    std::int64_t count = std::min(batch, flat.size(0) - first);
    if (options.noise == NoiseMode::Random) count = std::min(count, m - first % m);
    pictures.push_back(
        generator.synthesis(flat.narrow(0, first, count), options.noise, options.samples.seed, m0 + first % m));
    embeddings.push_back(clip.encode_image(clip.preprocess(pictures.back(), options.preprocess)));
    first += count;
  }
  const at::Tensor all = at::cat(pictures).contiguous(), f = at::cat(embeddings);
  if (codes.size(0) == 2) {
    const std::int64_t half = flat.size(0) / 2;
    embed_alike(all.narrow(0, 0, half), all.narrow(0, half, half), f.narrow(0, 0, half), f.narrow(0, half, half));
  }
  return f.view({codes.size(0), codes.size(1), m, -1});
}

// The fewest equal parts of at most `largest` each: the size of one.
std::int64_t even_part(std::int64_t total, std::int64_t largest) {
  const std::int64_t parts = (total + largest - 1) / largest;
  return (total + parts - 1) / parts;
}

class ReferenceEngine : public SweepEngine {
 public:
  ReferenceEngine(const SweepTask& task, std::int64_t beside) : SweepEngine(task) {
    const std::string device = task.generator.device();
    const std::int64_t common = library_bytes(device) + table_bytes(task) + beside;
    const PictureBytes pictures = task.options.batch == 0 ? picture_bytes() : PictureBytes();
    // Codes of a batch are made twice: as the channels' base, then changed.
    const std::int64_t code = 2 * task.inputs.base.size(1) * static_cast<std::int64_t>(sizeof(float));
    // A pair's pictures are kept until both are there; comparing them takes less than painting did (alike_bytes()).
    const std::int64_t side = task.generator.image_size();
    const std::int64_t kept = 3 * side * side * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t bound = plan_batch(1, largest_batch(device), [&](std::int64_t n) {
      return common + pictures.of(n) + n * code + 2 * std::max<std::int64_t>(2, n) * kept;
    });
    pool_.set_most(std::max<std::int64_t>(0, bound - common));
  }

  std::string implementation() const override { return "reference"; }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override {
    const c10::NoGradGuard no_grad;
    const PrecisionGuard precision(Precision::Float32);  // where the models are in float32, so is the arithmetic
    const UseMemoryPool reuse(pool_);
    const auto rows = static_cast<std::int64_t>(part.rows.size());
    std::int64_t k = 0;
    for (std::int64_t first = 0; first < rows; first += k) {
      // A batch of 1 renders the two signs one by one.
      const std::int64_t pairs = std::max<std::int64_t>(1, batch_ / 2);
      const std::int64_t pictures_a_part = even_part(part.pictures, pairs);
      k = std::min(std::max<std::int64_t>(1, pairs / pictures_a_part), rows - first);
      for (std::int64_t m0 = 0; m0 < part.pictures; m0 += pictures_a_part) {
        add_piece({&part, first, k, m0, std::min(pictures_a_part, part.pictures - m0)}, sums, meter);
      }
    }
  }

 private:
  // Rows first … of a part's, and of its pictures m0 ….
  struct Piece {
    const SweepPart* part;
    std::int64_t first, k, m0, m;
  };

  // A piece that memory does not hold is done in halves, pairs of pictures together, as a smaller batch would.
  void add_piece(const Piece& piece, RelevanceSums& sums, ProgressMeter& meter) {
    const auto& [part, first, k, m0, m] = piece;
    const std::int64_t picture = part->first_picture + m0;
    at::Tensor f;
    bool halve = false;
    while (!f.defined() && !halve) {
      try {
        const at::Tensor codes = perturbed_codes(task_.inputs, part->rows.data() + first, k, picture, m);
        f = embed(task_.generator, task_.clip, codes, picture, batch_, task_.options, task_.run);
      } catch (...) {
        halve_or_rethrow(std::min(batch_, 2 * k * m), 1);
        halve = k * m > 1;  // a pair alone: its pictures one by one
      }
      if (!f.defined()) pool_.trim();
    }
    if (halve) {
      const bool rows = k > 1;
      add_piece({part, first, rows ? k / 2 : k, m0, rows ? m : m / 2}, sums, meter);
      add_piece(
          {part, rows ? first + k / 2 : first, rows ? k - k / 2 : k, rows ? m0 : m0 + m / 2, rows ? m : m - m / 2},
          sums, meter);
      return;
    }
    sums.add(first, f[0], f[1]);
    check_finite(sums, *part, first, k, picture, m);
    meter.step(2 * k * m);
  }

  // Of one picture on its way through both models.
  PictureBytes picture_bytes() const {
    return measure_pictures(task_.generator.device(), 1, [&](std::int64_t pictures) {
      const c10::NoGradGuard no_grad;
      const PrecisionGuard precision(Precision::Float32);
      const at::Tensor codes = task_.inputs.base.narrow(0, 0, 1).expand({pictures, -1}).contiguous();
      embed(task_.generator, task_.clip, codes.view({1, 1, pictures, -1}), 0, pictures, task_.options, task_.run);
    });
  }

  MemoryPool pool_{0};
};

}  // namespace

std::unique_ptr<SweepEngine> make_reference_engine(const SweepTask& task, std::int64_t beside) {
  return std::make_unique<ReferenceEngine>(task, beside);
}

}  // namespace styleclip
