// The channels of one text without a sweep of all. Pictures differ more than channels do, so what ranks the channels is the
// slope along the text in every picture, with a few random products that tell its length, rather than much of a few pictures.
// What slopes cannot see the exact pictures of the candidates say, and most candidates need few.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "models/scalar_type.h"
#include "relevance/broken.h"
#include "relevance/confidence.h"
#include "relevance/engines.h"
#include "relevance/screening.h"
#include "relevance/slopes.h"
#include "relevance/working_memory.h"
#include "runtime/philox.h"
#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kAutomaticChannels = 20;  // of a direction's automatic β
constexpr std::int64_t kLeastProbes = 5;         // a picture
constexpr std::int64_t kProbes = 500;            // of all pictures
constexpr std::int64_t kFirstLook = 8;           // pictures
constexpr double kLookGrowth = 1.08;
constexpr std::int64_t kPicturesApart = 32;  // whose sums are held apart, at most
constexpr std::int64_t kMemoryShare = 8;     // of the memory bound: for the candidates' differences, and for those sums

// Wanted are the candidates whose |r| reaches this, given what is known of all of them.
double threshold(const ScreenOptions& screen, const std::vector<double>& descending) {
  if (screen.beta) return *screen.beta;
  if (screen.automatic) return automatic_beta(descending, kAutomaticChannels);
  if (descending.empty()) return 0;
  return descending[std::min(descending.size(), static_cast<std::size_t>(screen.channels)) - 1];
}

void check(const Clip& clip, const ScreenOptions& screen) {
  if (!screen.text.defined() || screen.text.dim() != 1 || screen.text.size(0) != clip.embedding_dim()) {
    throw Error(ErrorCode::Shape,
                "The text direction has not the " + std::to_string(clip.embedding_dim()) + " numbers of the embedding.",
                "Use a direction made with this CLIP model.");
  }
  const double length = screen.text.to(at::kCPU, at::kDouble).norm().item<double>();
  if (!(length > 0) || !std::isfinite(length)) {
    throw Error(ErrorCode::NotFinite, "The text direction is zero, or holds NaN or infinity.",
                "Make it with a target and a neutral text that differ.");
  }
  const bool fits = screen.channels >= 1 && screen.probes >= 0 && screen.margin >= 1 && std::isfinite(screen.margin) &&
                    screen.confidence > 0.5 && screen.confidence < 1 &&
                    (!screen.beta || (*screen.beta >= 0 && *screen.beta <= 1));
  if (fits) return;
  throw Error(ErrorCode::Range, "A screening's settings are out of range.",
              "channels and margin are 1 or more, probes 0 or more, beta is 0 to 1, confidence above 0.5 and below 1.");
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

class Screening {
 public:
  Screening(const SweepTask& task, const ScreenOptions& screen)
      : task_(task),
        screen_(screen),
        pictures_(task.options.images),
        dim_(task.clip.embedding_dim()),
        probes_(std::min(
            dim_, screen.probes > 0 ? screen.probes : std::max(kLeastProbes, (kProbes + pictures_ - 1) / pictures_))),
        text_(screen.text.to(at::kCPU, at::kDouble) / screen.text.to(at::kCPU, at::kDouble).norm()) {}

  ScreenedRows run() {
    ScreenedRows result;
    const SketchedRelevance sketched = sketch();
    result.of = std::ssize(task_.inputs.moving);
    const std::vector<std::int64_t> rows = candidates(sketched.relevance);
    result.candidates = std::ssize(rows);
    result.probes = probes_;
    result.rows = paint(rows, sketched.text);
    result.rows.images += products_;
    return result;
  }

 private:
  // Slopes of all channels that move, along the text and along directions that each picture has of its own: what they are off
  // by is then another in each picture, and a sum over pictures is off by less.
  SketchedRelevance sketch() {
    const c10::InferenceMode inference(false);  // threads that have a way back write into what is made here
    const std::int64_t probes = probes_, channels = std::ssize(task_.inputs.moving);
    std::vector<std::int64_t> rows(task_.inputs.moving.size());
    std::iota(rows.begin(), rows.end(), 0);
    const auto [index, places] = indices_of(task_.inputs, rows);
    const at::Tensor steps = (task_.inputs.plus - task_.inputs.minus).index_select(0, places);  // [channels, pictures]
    Sketch sketch;
    sketch.text = at::zeros({channels, pictures_}, at::kDouble);
    sketch.along = at::zeros({channels, pictures_, probes}, at::kDouble);
    sketch.directions = at::empty({pictures_, probes, dim_}, at::kDouble);
    const at::TensorOptions like = task_.inputs.base.options();

    SlopesWanted wanted;
    wanted.width = 1 + probes;
    wanted.cotangents = [&](std::int64_t picture) {
      const at::Tensor normal = at::empty({dim_, probes}, at::kFloat);
      philox_normal(normal.mutable_data_ptr<float>(), normal.numel(), task_.options.samples.seed,
                    static_cast<std::uint32_t>(PhiloxStream::Probes), static_cast<std::uint64_t>(picture));
      const at::Tensor orthonormal = std::get<0>(at::linalg_qr(normal.to(at::kDouble))).t();
      sketch.directions.select(0, picture).copy_(orthonormal);
      return at::cat({text_.unsqueeze(0), orthonormal}).to(like);
    };
    wanted.took = [&, where = index](std::int64_t picture, const at::Tensor& products) {
      const at::Tensor d =
          (products.index_select(0, where).to(at::kDouble) * steps.select(1, picture).unsqueeze(1)).cpu();
      const at::Tensor finite = at::isfinite(d).all(1);
      if (!finite.all().item<bool>()) {
        throw_broken(task_, finite.to(at::kByte).argmin().item<std::int64_t>(), picture, 1,
                     parse_dtype(task_.generator.dtype()));
      }
      sketch.text.select(1, picture).copy_(d.select(1, 0));
      sketch.along.select(1, picture).copy_(d.narrow(1, 1, probes));
    };
    products_ = pictures_ * wanted.width;
    ProgressMeter meter(task_.run, "screen", products_, "products");
    const auto sketched =
        static_cast<std::int64_t>(sketch.text.nbytes() + sketch.along.nbytes() + sketch.directions.nbytes());
    SlopesPlan plan = plan_slopes(task_, wanted.width, table_bytes(task_) + sketched);
    take_slopes(task_, 0, pictures_, wanted, plan, meter);
    least_bytes_ = plan.least_bytes;
    return read_sketch(sketch);
  }

  // Rows of SweepInputs::moving that come into question, ascending.
  std::vector<std::int64_t> candidates(const at::Tensor& relevance) const {
    const double* r = relevance.const_data_ptr<double>();
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < relevance.numel(); ++i) {
      if (r[i] > 0) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return r[a] > r[b]; });
    std::vector<double> descending;
    descending.reserve(order.size());
    for (const std::int64_t i : order) descending.push_back(r[i]);

    std::size_t kept = 0;
    if (screen_.beta || screen_.automatic) {
      const double least = threshold(screen_, descending) / screen_.margin;
      while (kept < descending.size() && descending[kept] >= least) ++kept;
    }
    if (!screen_.beta) {
      const double most = std::ceil(static_cast<double>(screen_.channels) * screen_.margin);
      if (static_cast<double>(kept) < most) {
        kept = static_cast<std::size_t>(std::min(most, static_cast<double>(order.size())));
      }
    }
    if (kept == 0) {
      throw Error(ErrorCode::EmptySelection,
                  screen_.beta ? "No style channel's gradient reaches " + decimal(*screen_.beta / screen_.margin) +
                                     ": the largest is " + decimal(descending.empty() ? 0 : descending[0]) + "."
                               : "No style channel moves along this text direction.",
                  "Give a lower beta, a larger margin, or a number of channels.");
    }
    order.resize(kept);
    std::sort(order.begin(), order.end());
    return order;
  }

  // `control` [moving, pictures]: what slopes say of each picture.
  RelevanceRows paint(const std::vector<std::int64_t>& rows, const at::Tensor& control) {
    const std::int64_t count = std::ssize(rows), share = memory_bound(task_) / kMemoryShare;
    const std::int64_t bytes = count * pictures_ * dim_ * static_cast<std::int64_t>(sizeof(double));
    const bool looking = bytes <= share;  // else every candidate has all pictures
    const std::int64_t one = sums_bytes(count, dim_);
    const std::int64_t apart = std::clamp<std::int64_t>(share / one, 1, kPicturesApart);
    // The candidates' differences, once more where they are looked at, and what slopes said of all channels.
    const std::int64_t beside = (looking ? 2 * bytes : 0) + apart * one + static_cast<std::int64_t>(control.nbytes());
    const std::unique_ptr<SweepEngine> painter = make_exact_engine(task_, beside);
    const at::Tensor seen = looking ? at::zeros({count, pictures_, dim_}, at::kDouble) : at::Tensor();
    RelevanceSums sums(count, dim_, c10::Device(task_.clip.device()));
    ProgressMeter meter(task_.run, "sweep", 2 * count * pictures_, "images");
    std::vector<std::int64_t> places(rows.size());  // in `rows`, of the candidates that are left
    std::iota(places.begin(), places.end(), 0);
    std::int64_t painted = 0, done = 0;
    for (const std::int64_t look : looking ? looks() : std::vector{pictures_}) {
      SweepPart part;
      part.rows.reserve(places.size());
      for (const std::int64_t place : places) part.rows.push_back(rows[static_cast<std::size_t>(place)]);
      const at::Tensor index = at::tensor(places, at::kLong);
      while (done < look) {
        part.first_picture = done;
        part.pictures = std::min(apart, look - done);
        add(*painter, part, index, sums, seen, meter);
        painted += 2 * part.pictures * std::ssize(places);
        done += part.pictures;
      }
      if (look == pictures_) break;
      const at::Tensor own = at::tensor(part.rows, at::kLong);
      const std::int64_t before = std::ssize(places);
      give_up(estimate_relevance(seen.narrow(1, 0, look).index_select(0, index), text_, control.index_select(0, own)),
              look, places);
      meter.spare(2 * (pictures_ - look) * (before - std::ssize(places)));
    }
    return finish(rows, places, sums, *painter, painted);
  }

  // On a CPU each thread paints a picture of its own: none is idle where their number divides what each look adds.
  std::vector<std::int64_t> looks() const {
    const bool cpu = c10::Device(task_.generator.device()).is_cpu();
    return looks_of(pictures_, kFirstLook, kLookGrowth, cpu ? at::get_num_threads() : 1);
  }

  void add(SweepEngine& painter, const SweepPart& part, const at::Tensor& index, RelevanceSums& sums,
           const at::Tensor& seen, ProgressMeter& meter) const {
    std::vector<RelevanceSums> each;
    each.reserve(static_cast<std::size_t>(part.pictures));
    for (std::int64_t i = 0; i < part.pictures; ++i) each.emplace_back(index.numel(), dim_, sums.sum.device());
    painter.add_each(part, each, meter);
    const at::Tensor there = index.to(sums.sum.device());
    for (std::int64_t i = 0; i < part.pictures; ++i) {
      const RelevanceSums& one = each[static_cast<std::size_t>(i)];
      sums.sum.index_add_(0, there, one.sum);
      sums.magnitude.index_add_(0, there, one.magnitude);
      sums.count.index_add_(0, there, one.count);
      if (seen.defined()) seen.select(1, part.first_picture + i).index_copy_(0, index, one.sum.cpu());
    }
  }

  // Takes those off `places` that are not wanted as far as can be told after `look` pictures; never the best.
  void give_up(const RelevanceEstimate& known, std::int64_t look, std::vector<std::int64_t>& places) const {
    const double* r = known.relevance.const_data_ptr<double>();
    const double* error = known.error.const_data_ptr<double>();
    std::vector<double> descending(r, r + places.size());
    std::sort(descending.begin(), descending.end(), std::greater<>());
    const double least = std::min(threshold(screen_, descending), descending.front());
    const double t = student_t(2 * (1 - screen_.confidence), look - 2);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (r[i] + t * error[i] >= least) places[kept++] = places[i];
    }
    places.resize(kept);
  }

  RelevanceRows finish(const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& places,
                       const RelevanceSums& sums, const SweepEngine& painter, std::int64_t painted) const {
    const at::Tensor index = at::tensor(places, at::kLong).to(sums.sum.device());
    RelevanceSums left(std::ssize(places), dim_, sums.sum.device());
    left.sum = sums.sum.index_select(0, index);
    left.magnitude = sums.magnitude.index_select(0, index);
    left.count = sums.count.index_select(0, index);
    std::vector<std::int64_t> channels, moving(places.size());
    channels.reserve(places.size());
    std::iota(moving.begin(), moving.end(), 0);
    for (const std::int64_t place : places) {
      const std::int64_t row = task_.inputs.moving[static_cast<std::size_t>(rows[static_cast<std::size_t>(place)])];
      channels.push_back(task_.inputs.channels[static_cast<std::size_t>(row)]);
    }
    RelevanceRows result = finish_rows(left, channels, moving, pictures_);
    result.images = painted;
    result.implementation = painter.implementation();
    result.batch = painter.batch();
    result.least_bytes = std::max(least_bytes_, painter.least_bytes());
    return result;
  }

  const SweepTask task_;
  const ScreenOptions& screen_;
  std::int64_t pictures_, dim_, probes_, products_ = 0;
  std::int64_t least_bytes_ = 0;  // of the slopes
  at::Tensor text_;               // [dim] float64, unit
};

}  // namespace

ScreenedRows sweep_screened(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                            const SweepOptions& options, const ScreenOptions& screen, const RunContext& run) {
  const auto start = std::chrono::steady_clock::now();
  check(clip, screen);
  const SweepInputs inputs = make_sweep_inputs(generator, statistics, options, run);
  ScreenedRows result = Screening({generator, clip, inputs, options, run}, screen).run();
  result.rows.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace styleclip
