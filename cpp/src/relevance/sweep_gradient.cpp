// The sweep to first order: one Jacobian of the unit embedding a sample picture, by rows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>

#include <iterator>
#include <string>
#include <vector>

#include "relevance/engines.h"
#include "relevance/slopes.h"
#include "relevance/working_memory.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

class GradientEngine : public SweepEngine {
 public:
  explicit GradientEngine(const SweepTask& task)
      : SweepEngine(task),
        rows_(at::eye(task.clip.embedding_dim(),
                      at::TensorOptions().dtype(at::kFloat).device(c10::Device(task.clip.device())))) {
    const std::int64_t dim = task.clip.embedding_dim();
    // A picture's slopes on their way to the sums: once in float32, three times in float64.
    const std::int64_t took = std::ssize(task.inputs.moving) * dim * (4 + 3 * 8);
    plan_ = plan_slopes(task, dim, table_bytes(task) + static_cast<std::int64_t>(rows_.nbytes()) + took);
  }

  std::string implementation() const override { return "gradient"; }
  std::int64_t batch() const override { return plan_.batch; }
  std::int64_t least_bytes() const override { return plan_.least_bytes; }
  std::int64_t work(const SweepBlock& block) const override { return block.pictures * row_width(); }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override {
    const SweepInputs& inputs = task_.inputs;
    const auto [channels, places] = indices_of(inputs, part.rows);
    const at::Tensor steps = (inputs.plus - inputs.minus).index_select(0, places);  // [rows, images]
    SlopesWanted wanted;
    wanted.width = row_width();
    wanted.cotangents = [this](std::int64_t) { return rows_; };
    wanted.took = [&, index = channels](std::int64_t picture, const at::Tensor& products) {
      const at::Tensor slopes = products.index_select(0, index).to(at::kDouble);
      const at::Tensor d = slopes * steps.select(1, picture).unsqueeze(1);
      sums.add_differences(0, d, d.norm(2, 1));
      check_finite(sums, part, 0, std::ssize(part.rows), picture, 1);
    };
    take_slopes(task_, part.first_picture, part.pictures, wanted, plan_, meter);
  }

 private:
  at::Tensor rows_;  // of the whole Jacobian: the identity
  SlopesPlan plan_;
};

}  // namespace

std::unique_ptr<SweepEngine> make_gradient_engine(const SweepTask& task) {
  return std::make_unique<GradientEngine>(task);
}

}  // namespace styleclip
