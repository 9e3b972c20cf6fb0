// Mean and variance of every style channel, gathered batch by batch. Each batch is reduced to its own mean and its own
// sum of squared deviations, and merged with Chan, Golub and LeVeque's update (1983, "Algorithms for computing the
// sample variance"), all in float64: no large sums of squares are ever subtracted from one another, so channels whose
// mean is hundreds of times their deviation lose nothing, and the result does not depend on how samples fell into
// batches beyond float64 rounding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace styleclip {

class StyleMoments {
 public:
  /// styles [n, channels], any floating type; n ≥ 1, the same channels every time.
  void add(const at::Tensor& styles);
  /// Merges what another instance gathered: as if its samples had been added here.
  void merge(const StyleMoments& other);

  std::int64_t count() const { return count_; }
  /// [channels] float64.
  const at::Tensor& mean() const { return mean_; }
  /// [channels] float64, ddof 0 (divided by the count, as numpy.std does and the released code uses).
  at::Tensor sigma() const;

 private:
  void merge(std::int64_t count, const at::Tensor& mean, const at::Tensor& squares);

  std::int64_t count_ = 0;
  at::Tensor mean_;     // [channels] float64
  at::Tensor squares_;  // [channels] float64, sum of squared deviations from the mean
};

}  // namespace styleclip
