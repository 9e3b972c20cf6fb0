// The sweep that stops a channel's pictures early. After 10, 15, 23, … pictures every channel is looked at: where its
// row is known to point as the row of all pictures will, within the cosine asked for and with the confidence asked for, no
// more pictures of it are painted. Each look may err, so each has an equal part of the probability to.
//
// The paper and its released code always take 100 pictures (StyleCLIP, arXiv 2103.17249, section 6; SingleChannel.py).
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "relevance/confidence.h"
#include "relevance/engines.h"
#include "relevance/working_memory.h"

namespace styleclip {
namespace {

// Few, since the error allowed is shared out among them.
constexpr std::int64_t kFirstLook = 10;
constexpr double kLookGrowth = 1.5;

at::Tensor index_of(const std::vector<std::int64_t>& places, const at::Tensor& like) {
  return at::tensor(places, at::kLong).to(like.device());
}

class AdaptiveEngine : public SweepEngine {
 public:
  explicit AdaptiveEngine(const SweepTask& task)
      : SweepEngine(task),
        // Beside the sums of all pictures: those of the pictures up to the next look.
        painter_(make_exact_engine(task, sums_bytes(std::ssize(task.inputs.moving), task.clip.embedding_dim()))) {}

  std::string implementation() const override { return painter_->implementation(); }
  std::int64_t batch() const override { return painter_->batch(); }
  std::int64_t least_bytes() const override { return painter_->least_bytes(); }
  bool needs_all_pictures() const override { return true; }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override { sweep(part, sums, meter); }

  std::int64_t run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter) override {
    return sweep(part_of(block), sums, meter);
  }

 private:
  std::int64_t sweep(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) {
    const std::vector<std::int64_t> looks = looks_of(part.pictures, kFirstLook, kLookGrowth);
    const double tail = (1 - task_.options.confidence) / std::max<double>(1, static_cast<double>(looks.size()) - 1);
    SweepPart open = part;                               // rows that still want pictures
    std::vector<std::int64_t> places(open.rows.size());  // of them in `sums`
    std::iota(places.begin(), places.end(), 0);
    std::int64_t painted = 0;
    for (std::size_t look = 0, seen = 0; look < looks.size() && !open.rows.empty(); ++look) {
      open.first_picture = part.first_picture + static_cast<std::int64_t>(seen);
      open.pictures = looks[look] - static_cast<std::int64_t>(seen);
      seen = static_cast<std::size_t>(looks[look]);
      RelevanceSums more(static_cast<std::int64_t>(places.size()), sums.sum.size(1), sums.sum.device());
      painter_->add(open, more, meter);
      const at::Tensor index = index_of(places, sums.sum);
      sums.sum.index_add_(0, index, more.sum);
      sums.magnitude.index_add_(0, index, more.magnitude);
      sums.count.index_add_(0, index, more.count);
      painted += 2 * open.pictures * static_cast<std::int64_t>(open.rows.size());
      if (looks[look] < part.pictures) close_known(part, looks[look], tail, sums, open.rows, places, meter);
    }
    return painted;
  }

  // Takes the rows that are known well enough off `rows` and `places`.
  void close_known(const SweepPart& part, std::int64_t seen, double tail, RelevanceSums& sums,
                   std::vector<std::int64_t>& rows, std::vector<std::int64_t>& places, ProgressMeter& meter) const {
    const at::Tensor index = index_of(places, sums.sum);
    const at::Tensor lengths = sums.sum.norm(2, 1).index_select(0, index).to(at::kCPU);
    const at::Tensor counts = sums.count.index_select(0, index).to(at::kCPU);
    const double* length = lengths.const_data_ptr<double>();
    const std::int64_t* count = counts.const_data_ptr<std::int64_t>();
    std::vector<std::int64_t> closed;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      // Pictures in which nothing changed say nothing of the direction, here as in the whole.
      const double share = static_cast<double>(count[i]) / static_cast<double>(seen);
      const auto all = static_cast<std::int64_t>(std::llround(share * static_cast<double>(part.pictures)));
      const double mean = count[i] > 0 ? length[i] / static_cast<double>(count[i]) : 0;
      if (cosine_bound(mean, count[i], all, tail) >= task_.options.cosine) {
        closed.push_back(places[i]);
        continue;
      }
      rows[kept] = rows[i];
      places[kept++] = places[i];
    }
    rows.resize(kept);
    places.resize(kept);
    if (closed.empty()) return;
    // Σ |d| becomes a mean by division by all pictures.
    const double scale = static_cast<double>(part.pictures) / static_cast<double>(seen);
    const at::Tensor done = index_of(closed, sums.magnitude);
    sums.magnitude.index_copy_(0, done, sums.magnitude.index_select(0, done) * scale);
    meter.spare(2 * (part.pictures - seen) * static_cast<std::int64_t>(closed.size()));
  }

  std::unique_ptr<SweepEngine> painter_;
};

void check_share(double value, const std::string& name) {
  if (value > 0 && value < 1) return;
  throw Error(ErrorCode::Range, "The " + name + " of an adaptive sweep is not between 0 and 1.",
              "Use numbers such as 0.99 for the cosine and 0.95 for the confidence.");
}

}  // namespace

std::unique_ptr<SweepEngine> make_adaptive_engine(const SweepTask& task) {
  check_share(task.options.cosine, "cosine");
  check_share(task.options.confidence, "confidence");
  return std::make_unique<AdaptiveEngine>(task);
}

}  // namespace styleclip
