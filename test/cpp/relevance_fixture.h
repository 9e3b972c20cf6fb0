// What the tests of the sweeps share: the rows that differences of unit embeddings make, and how far rounding moves them.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "relevance/engine.h"
#include "relevance/sweep_inputs.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace sweeps {

using Vector = std::vector<double>;

/// What the differences d of one channel make.
struct Direct {
  Vector row;         // unit
  Vector lengths;     // |d| of each picture
  double sum_length;  // |Σ unit(d)|
};

/// d [pictures, dim], float64.
inline Direct direct_of(const at::Tensor& d) {
  const at::Tensor lengths = d.norm(2, 1).contiguous();
  const at::Tensor sum = (d / lengths.unsqueeze(1)).sum(0);
  const at::Tensor row = (sum / sum.norm()).contiguous();
  Direct direct;
  direct.row.assign(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
  direct.lengths.assign(lengths.const_data_ptr<double>(), lengths.const_data_ptr<double>() + lengths.numel());
  direct.sum_length = sum.norm().item<double>();
  return direct;
}

/// d [channels that move, pictures, dim] float64, by a method's engine, picture by picture.
inline at::Tensor differences(const std::string& method, const styleclip::StyleStatistics& statistics,
                              const styleclip::SweepOptions& options,
                              styleclip::Generator& generator = tiny::generator()) {
  const styleclip::RunContext run;
  const auto inputs = styleclip::make_sweep_inputs(generator, statistics, options, run);
  const auto engine = styleclip::make_engine(method, {generator, tiny::clip(), inputs, options, run});
  const auto rows = std::ssize(inputs.moving);
  at::Tensor d = at::empty({rows, options.images, tiny::clip().embedding_dim()}, at::kDouble);
  styleclip::ProgressMeter meter(run, "sweep", 0, "images");
  for (std::int64_t picture = 0; picture < options.images; ++picture) {
    styleclip::RelevanceSums sums(rows, d.size(2), at::kCPU);
    engine->run({0, rows, picture, 1}, sums, meter);
    d.select(1, picture).copy_(sums.sum * sums.magnitude.unsqueeze(1));
  }
  return d;
}

/// Of every channel d [channels, pictures, dim], the first counts[i] pictures.
inline std::vector<Direct> directs(const at::Tensor& d, const at::Tensor& counts) {
  std::vector<Direct> all;
  for (std::int64_t row = 0; row < d.size(0); ++row) {
    all.push_back(direct_of(d[row].narrow(0, 0, counts[row].item<std::int64_t>())));
  }
  return all;
}

inline double distance(const at::Tensor& row, const Vector& expected) {
  const at::Tensor wide = row.to(at::kDouble);
  double squares = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = wide[static_cast<std::int64_t>(i)].item<double>() - expected[i];
    squares += difference * difference;
  }
  return std::sqrt(squares);
}

inline at::Tensor unit_embeddings(const at::Tensor& pictures, styleclip::Preprocess mode) {
  const at::Tensor f = tiny::clip().encode_image(tiny::clip().preprocess(pictures, mode)).to(at::kDouble);
  return f / f.norm(2, {1}, true);
}

/// How far unit embeddings of the same 64 pictures are apart, computed in a batch, and alone, and by a generator whose
/// convolutions' weights are three times as large, whichever is further. Demodulation takes the factor out again: the same
/// mathematics, but every weight, product and sum is rounded elsewhere, on whatever machine.
inline at::Tensor embeddings_apart(const tiny::Weights& weights) {
  tiny::Weights tripled = weights;
  for (auto& [name, values] : tripled) {
    if (name.starts_with("conv") && name.ends_with(".conv.weight")) values = values * 3;
  }
  const auto generator = tiny::load_generator(weights), other = tiny::load_generator(tripled);
  const at::Tensor w = generator->mapping(generator->sample_z(64, 99));
  const at::Tensor s = generator->styles(generator->truncate(w, 1.0, -1));
  const auto embedded = [](styleclip::Generator& by, const at::Tensor& codes) {
    return unit_embeddings(by.synthesis(codes), styleclip::Preprocess::Float);
  };
  const at::Tensor f = embedded(*generator, s);
  at::Tensor apart = (f - embedded(*other, s)).norm(2, 1);
  for (std::int64_t i = 0; i < s.size(0); ++i) {
    apart[i] = at::maximum(apart[i], (f[i] - embedded(*generator, s.narrow(0, i, 1))[0]).norm());
  }
  return apart;
}

/// ε, the noise of an embedding of tiny::generator()'s pictures: the largest of these.
inline double embedding_noise() {
  static const double noise = embeddings_apart(tiny::generator_weights()).max().item<double>();
  return noise;
}

/// How far a picture's unit embedding moves, at most, when one of its values rounds to the next of the 256 levels. Whether
/// two computations of one picture agree to the last bit is libtorch's affair (2.11 does not); a value that lies between
/// two levels may then go either way.
inline double level_noise(const styleclip::SweepOptions& options) {
  styleclip::Generator& generator = tiny::generator();
  const at::Tensor w = generator.mapping(generator.sample_z(options.images, options.samples.seed));
  const at::Tensor images = generator.synthesis(generator.styles(generator.truncate(w, 0.7, -1)));
  double largest = 0;
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    const std::int64_t values = images[i].numel();
    at::Tensor moved = images[i].reshape({1, values}).repeat({values + 1, 1});
    moved.diagonal().add_(1 / 127.5);  // the last row stays as it is
    const at::Tensor pictures = moved.view({values + 1, images.size(1), images.size(2), images.size(3)});
    const at::Tensor f = unit_embeddings(pictures, options.preprocess);
    largest = std::max(largest, (f - f[values]).norm(2, {1}).max().item<double>());
  }
  return largest;
}

/// How far a row may move when every unit embedding moves by ε. d moves by 2 ε at most, unit(d) by 2 · 2ε / |d|, their
/// sum by the sum of these, and the unit of the sum by twice that over its length.
inline double row_bound(const Direct& channel, double noise) {
  double moved = 0;
  for (const double length : channel.lengths) moved += std::min(2.0, 4 * noise / length);
  return 2 * moved / channel.sum_length;
}

/// Rows of a sweep are what differences make, to within what `noise` of every unit embedding does to them. `level`: noise
/// of a picture whose value rounded to the other level, where there are levels; a few rows may have one.
inline void check_rows(const styleclip::RelevanceRows& rows, const std::vector<Direct>& wanted, double noise,
                       double level = 0) {
  REQUIRE(rows.rows.size(0) == static_cast<std::int64_t>(rows.channels.size()));
  REQUIRE(wanted.size() == rows.channels.size());
  std::int64_t resolved = 0, flipped = 0;
  for (std::size_t i = 0; i < rows.channels.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const Direct& expected = wanted[i];
    const double strict = row_bound(expected, noise) + 0x1p-23;  // + the row's own rounding to float32, and the next's
    const bool flip = level > noise && distance(rows.rows[at], expected.row) > strict;
    const double each = flip ? level : noise;
    const double bound = flip ? row_bound(expected, level) : strict;
    flipped += flip;
    CAPTURE(rows.channels[i]);
    CHECK(distance(rows.rows[at], expected.row) <= bound);
    const auto pictures = static_cast<double>(expected.lengths.size());
    double mean = 0;
    for (const double length : expected.lengths) mean += length / pictures;
    CHECK(std::abs(rows.magnitude[at].item<double>() - mean) <= 2 * each + 0x1p-23 * mean);
    CHECK(std::abs(rows.concentration[at].item<double>() - expected.sum_length / pictures) <= bound);
    CHECK(rows.counts[at].item<std::int64_t>() == std::ssize(expected.lengths));
    resolved += strict < 0.01;
  }
  // The bound says something about nearly every row: this is a test of values, not of noise.
  CHECK(flipped * 3 <= std::ssize(rows.channels));
  CHECK(resolved * 10 >= std::ssize(rows.channels) * 9);
}

}  // namespace sweeps
