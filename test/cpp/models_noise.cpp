// Random noise belongs to the number of a picture: a series may be rendered in batches of any size.
#include <ATen/ops/cat.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "styleclip/models.h"
#include "tiny_world.h"

namespace {

using styleclip::NoiseMode;

/// The same code `count` times, rendered `batch` at a time: [count, 3, h, w].
at::Tensor series(std::int64_t count, std::int64_t batch, NoiseMode noise, std::uint64_t seed) {
  styleclip::Generator& generator = tiny::generator();
  const at::Tensor w = generator.mapping(generator.sample_z(1, 4));
  const at::Tensor s = generator.styles(generator.truncate(w, 1, -1));
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < count; first += batch) {
    const std::int64_t part = std::min(batch, count - first);
    parts.push_back(generator.synthesis(s.expand({part, s.size(1)}), noise, seed, first));
  }
  return at::cat(parts);
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

TEST_CASE("random noise depends on the seed and the number of the picture, not on the batch") {
  const at::Tensor all = series(5, 5, NoiseMode::Random, 9);
  // Float sums may differ in their last bits between batch sizes; other noise differs by far more.
  const double unlike = distance(all[0], all[1]);
  CHECK(unlike > 0.01);
  CHECK(distance(all, series(5, 5, NoiseMode::Random, 10)) > 0.1 * unlike);
  for (const std::int64_t batch : {1, 2, 3}) {
    CAPTURE(batch);
    CHECK(distance(all, series(5, batch, NoiseMode::Random, 9)) < 1e-3 * unlike);
  }
  const at::Tensor still = series(2, 2, NoiseMode::Const, 9);
  CHECK(distance(still[0], still[1]) < 1e-3 * unlike);
}
