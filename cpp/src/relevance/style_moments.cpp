// The merge of two groups' moments; see style_moments.h.
#include "relevance/style_moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sqrt.h>

namespace styleclip {

void StyleMoments::add(const at::Tensor& styles) {
  const at::Tensor values = styles.to(at::kDouble);
  const at::Tensor mean = values.mean(0);
  merge(values.size(0), mean, (values - mean).square().sum(0));
}

void StyleMoments::merge(const StyleMoments& other) {
  if (other.count_ > 0) merge(other.count_, other.mean_, other.squares_);
}

void StyleMoments::merge(std::int64_t count, const at::Tensor& mean, const at::Tensor& squares) {
  if (count_ == 0) {
    count_ = count;
    mean_ = mean;
    squares_ = squares;
    return;
  }
  const double mine = static_cast<double>(count_);
  const double theirs = static_cast<double>(count);
  const at::Tensor delta = mean - mean_;
  mean_ = mean_ + delta * (theirs / (mine + theirs));
  squares_ = squares_ + squares + delta.square() * (mine * theirs / (mine + theirs));
  count_ += count;
}

at::Tensor StyleMoments::sigma() const { return at::sqrt(squares_ / static_cast<double>(count_)); }

}  // namespace styleclip
