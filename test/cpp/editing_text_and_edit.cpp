// Text directions against the formula in plain loops, and edits against pictures made one by one.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "styleclip/editing.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::NoiseMode;
using styleclip::TextDirection;

// Prompts of random words; the last token is the largest, as CLIP's end of text is.
at::Tensor tokens(std::int64_t prompts, std::int64_t seed) {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed));
  const std::int64_t context = tiny::clip().context_length();
  const at::Tensor words = at::randint(0, tiny::clip().vocabulary_size() - 2, {prompts, context}, engine).to(at::kLong);
  words.select(1, context - 1).fill_(tiny::clip().vocabulary_size() - 1);
  return words;
}

struct MeanUnit {
  std::vector<double> value;
  double error;  // what rounding of the embeddings in batches, another than alone, makes of it
};

MeanUnit mean_unit(const at::Tensor& prompts) {
  std::vector<double> sum;
  double noise = 0;
  const at::Tensor together = tiny::clip().encode_text(prompts).to(at::kDouble);
  for (std::int64_t i = 0; i < prompts.size(0); ++i) {
    const at::Tensor f = tiny::clip().encode_text(prompts.narrow(0, i, 1)).to(at::kDouble).contiguous();
    noise = std::max(noise, (f[0] / f.norm() - together[i] / together[i].norm()).norm().item<double>());
    sum.resize(static_cast<std::size_t>(f.numel()));
    double squares = 0;
    for (std::int64_t k = 0; k < f.numel(); ++k) squares += f[0][k].item<double>() * f[0][k].item<double>();
    for (std::int64_t k = 0; k < f.numel(); ++k) {
      sum[static_cast<std::size_t>(k)] += f[0][k].item<double>() / std::sqrt(squares);
    }
  }
  double squares = 0;
  for (const double value : sum) squares += value * value;
  for (double& value : sum) value /= std::sqrt(squares);
  // The sum moves by the noise of every prompt, its unit by twice that over its length. At the least the embeddings' own
  // rounding to float32.
  return {sum, 2 * std::max(noise, 0x1p-24) * static_cast<double>(prompts.size(0)) / std::sqrt(squares)};
}

TEST_CASE("text direction: unit(t̂ target − t̂ neutral), prompt by prompt from the formula") {
  const at::Tensor target = tokens(79, 1);  // more than one forward's worth
  const at::Tensor neutral = tokens(3, 2);
  const TextDirection made = styleclip::text_direction(tiny::clip(), target, neutral, {});
  const auto [t, t_error] = mean_unit(target);
  const auto [n, n_error] = mean_unit(neutral);
  double squares = 0;
  for (std::size_t i = 0; i < t.size(); ++i) squares += (t[i] - n[i]) * (t[i] - n[i]);
  const double length = std::sqrt(squares), error = t_error + n_error;
  CHECK(std::abs(made.length - length) <= error);
  for (std::size_t i = 0; i < t.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    // And the results' rounding to float32: they are at most 1.
    CHECK(std::abs(made.direction[at].item<double>() - (t[i] - n[i]) / length) <= 2 * error / length + 0x1p-24);
    CHECK(std::abs(made.target[at].item<double>() - t[i]) <= t_error + 0x1p-24);
    CHECK(std::abs(made.neutral[at].item<double>() - n[i]) <= n_error + 0x1p-24);
  }
}

TEST_CASE("the opposite pair gives the opposite direction") {
  const TextDirection there = styleclip::text_direction(tiny::clip(), tokens(2, 1), tokens(2, 2), {});
  const TextDirection back = styleclip::text_direction(tiny::clip(), tokens(2, 2), tokens(2, 1), {});
  CHECK(at::equal(there.direction, -back.direction));
}

TEST_CASE("the same text twice is an empty selection; no prompts, cancelled") {
  const at::Tensor text = tokens(4, 3);
  CHECK(tiny::error_of([&] { (void)styleclip::text_direction(tiny::clip(), text, text.clone(), {}); }).code() ==
        ErrorCode::EmptySelection);
  CHECK(tiny::error_of([&] { (void)styleclip::text_direction(tiny::clip(), text.narrow(0, 0, 0), text, {}); }).code() ==
        ErrorCode::Shape);
  CHECK(tiny::error_of([&] { (void)styleclip::text_direction(tiny::clip(), text, text[0], {}); }).code() ==
        ErrorCode::Shape);
  styleclip::CancelFlag cancel;
  cancel.set();
  styleclip::RunContext run;
  run.cancel = &cancel;
  CHECK_THROWS_AS((void)styleclip::text_direction(tiny::clip(), text, tokens(1, 9), run), styleclip::Aborted);
}

struct Edited {
  at::Tensor s;
  at::Tensor images;
  std::vector<std::int64_t> firsts;
};

at::Tensor codes(std::int64_t count) {
  styleclip::Generator& generator = tiny::generator();
  return generator.styles(generator.truncate(generator.mapping(generator.sample_z(count, 4)), 0.7, -1));
}

at::Tensor some_delta() {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(21);
  return at::randn({tiny::generator().layout().total()}, engine) * 0.3;
}

Edited edited(const at::Tensor& s, const at::Tensor& delta, const std::vector<double>& alphas, std::int64_t batch) {
  Edited result;
  std::vector<at::Tensor> images;
  result.s = styleclip::edit(tiny::generator(), s, delta, alphas, batch, NoiseMode::Const,
                             [&](std::int64_t first, const at::Tensor& part) {
                               result.firsts.push_back(first);
                               images.push_back(part.clone());
                             },
                             {});
  result.images = at::cat(images);
  return result;
}

// How much further apart they are than a rounding to float32 for each number of `rounded`; a little for float64's.
double apart(const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& rounded) {
  const at::Tensor bound = rounded.to(at::kDouble) * (0x1p-24 + 0x1p-40);
  return ((got.to(at::kDouble) - wanted.to(at::kDouble)).abs() - bound).max().item<double>();
}

TEST_CASE("edits: S + α ΔS, latent by latent with all strengths, each picture as if made alone") {
  const at::Tensor s = codes(3);
  const at::Tensor delta = some_delta();
  const std::vector<double> alphas = {-3, 0, 4.5};
  const Edited all = edited(s, delta, alphas, 4);
  CHECK(all.firsts == std::vector<std::int64_t>{0, 4, 8});
  REQUIRE(all.s.size(0) == 9);
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::size_t a = 0; a < alphas.size(); ++a) {
      const std::int64_t at = 3 * i + static_cast<std::int64_t>(a);
      const at::Tensor expected = s[i].to(at::kDouble) + alphas[a] * delta.to(at::kDouble);
      CHECK(apart(all.s[at], expected, expected.abs()) <= 0);  // rounded once
      const at::Tensor alone = tiny::generator().synthesis(all.s.narrow(0, at, 1))[0];
      const double bound = tiny::orders_apart(tiny::synthesis_terms(tiny::generator_weights()));
      CHECK((all.images[at] - alone).abs().max().item<double>() <= bound * alone.abs().max().item<double>());
    }
  }
  // α = 0 gives the codes back bit for bit; the other strengths change the picture.
  CHECK(at::equal(all.s[1], s[0]));
  CHECK((all.images[1] - all.images[2]).abs().max().item<double>() > 0.05);
}

TEST_CASE("edits compose: an edit's codes are edited again") {
  const at::Tensor s = codes(2);
  const at::Tensor delta = some_delta();
  const at::Tensor twice = edited(edited(s, delta, {2}, 8).s, delta, {3}, 8).s;
  const at::Tensor by2 = (s + 2 * delta).abs(), by5 = (s + 5 * delta).abs();
  CHECK(apart(twice, edited(s, delta, {5}, 8).s, by2 + 2 * by5) <= 0);
  CHECK(apart(edited(edited(s, delta, {2}, 8).s, delta, {-2}, 8).s, s, by2 + s.abs()) <= 0);
}

TEST_CASE("a batch size is chosen when none is given; codes alone when nobody takes pictures") {
  const Edited all = edited(codes(2), some_delta(), {1, 2}, 0);
  CHECK(all.firsts == std::vector<std::int64_t>{0});
  const at::Tensor s = styleclip::edit(tiny::generator(), codes(2), some_delta(), {1, 2}, 0, NoiseMode::Const, {}, {});
  CHECK(at::equal(s, all.s));
}

TEST_CASE("random noise belongs to the latent: strength 0 twice is the same picture, other latents see other noise") {
  const at::Tensor s = codes(1).expand({2, -1}).clone();
  std::vector<at::Tensor> images;
  (void)styleclip::edit(tiny::generator(), s, some_delta(), {0, 0}, 8, NoiseMode::Random,
                        [&](std::int64_t, const at::Tensor& part) { images.push_back(part.clone()); }, {});
  REQUIRE(images.size() == 4);
  CHECK(at::equal(images[0], images[1]));
  CHECK(at::equal(images[2], images[3]));
  CHECK((images[0] - images[2]).abs().max().item<double>() > 0.01);
}

TEST_CASE("edits with arguments that make no sense, and cancelled ones") {
  const at::Tensor s = codes(2);
  const at::Tensor delta = some_delta();
  const auto code_of = [](const at::Tensor& from, const at::Tensor& by, const std::vector<double>& alphas,
                          std::int64_t batch) {
    return tiny::error_of([&] { (void)edited(from, by, alphas, batch); }).code();
  };
  CHECK(code_of(s.narrow(1, 0, 5), delta, {1}, 1) == ErrorCode::Shape);
  CHECK(code_of(s[0], delta, {1}, 1) == ErrorCode::Shape);
  CHECK(code_of(s, delta.narrow(0, 0, 5), {1}, 1) == ErrorCode::Shape);
  CHECK(code_of(s, delta, {}, 1) == ErrorCode::Argument);
  CHECK(code_of(s, delta, {1, std::nan("")}, 1) == ErrorCode::Range);
  CHECK(code_of(s, delta, {1}, -1) == ErrorCode::Range);
  CHECK(code_of(s, delta * std::numeric_limits<float>::infinity(), {1}, 1) == ErrorCode::NotFinite);

  styleclip::CancelFlag cancel;
  styleclip::RunContext run;
  run.cancel = &cancel;
  std::size_t batches = 0;
  CHECK_THROWS_AS((void)styleclip::edit(
                      tiny::generator(), s, delta, {1, 2, 3}, 1, NoiseMode::Const,
                      [&](std::int64_t, const at::Tensor&) {
                        ++batches;
                        cancel.set();
                      },
                      run),
                  styleclip::Aborted);
  CHECK(batches == 1);
}

}  // namespace
