// The loss of an edit and its gradients, reference and CPU implementation: against finite differences, against libtorch's
// autograd through the plain composition, at vectors of length zero and at numbers that are none; refusals.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "forced.h"
#include "gradients_fixture.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using gradients::Function;
using gradients::Tensors;
using refusals::code_of;
using styleclip::edit_loss;
using styleclip::EditLoss;
using styleclip::ErrorCode;

struct Case {
  std::int64_t n, d, texts;
  bool each = false;                       // texts for every embedding
  std::vector<std::int64_t> latent = {6};  // of one latent
  std::int64_t e = 0;                      // identity; 0 for none
  double clip = 1, l2 = 0.008, id = 0;
  bool mean = false;
};

const std::vector<Case> kCases = {
    {1, 1, 1},
    {1, 2, 1},
    {1, 5, 3, false, {7}, 3, 1, 0.008, 0.1},
    {3, 17, 2, true, {4, 9}, 5, 0.7, 0.8, 0.1, true},
    {2, 33, 1, false, {2, 3, 2}, 0, 1, 2, 0, true},
    {2, 8, 4, true, {3}, 8, 0, 0, 0.5},
    {2, 8, 4, false, {3}, 8, 0.5, 0, 0},
};
const std::vector<Case> kLargeCases = {{4, 512, 3, false, {18, 512}, 512, 1, 0.008, 0.005},
                                       {7, 300, 2, true, {9088}, 511, 1, 0.8, 0.1, true},
                                       {0, 8, 2, false, {5}, 4, 1, 1, 1}};

/// embedding, latents, identity.
Tensors inputs_of(const Case& which) {
  std::vector<std::int64_t> shape = which.latent;
  shape.insert(shape.begin(), which.n);
  Tensors inputs = {at::randn({which.n, which.d}, at::kDouble) * 3, at::randn(shape, at::kDouble), at::Tensor()};
  if (which.e > 0) inputs[2] = at::randn({which.n, which.e}, at::kDouble);
  return inputs;
}

struct Constants {
  at::Tensor text, source, source_identity;
};
Constants constants_of(const Case& which, at::ScalarType type) {
  at::manual_seed(31);
  Constants constants;
  constants.text = which.each ? at::randn({which.n, which.texts, which.d}) : at::randn({which.texts, which.d});
  std::vector<std::int64_t> shape = which.latent;
  shape.insert(shape.begin(), which.n);
  constants.source = at::randn(shape).to(type);
  constants.text = constants.text.to(type);
  if (which.e > 0) constants.source_identity = at::randn({which.n, which.e}).to(type);
  return constants;
}

Function fused(const Case& which) {
  return [which](const Tensors& in) {
    const Constants c = constants_of(which, in[0].scalar_type());
    return edit_loss(in[0], c.text, in[1], c.source, in[2], c.source_identity, which.clip, which.l2, which.id,
                     which.mean)
        .total;
  };
}

at::Tensor unit(const at::Tensor& rows) { return rows / rows.norm(2, -1, true); }

Tensors plain_parts(const Case& which, const Tensors& in) {
  const Constants c = constants_of(which, in[0].scalar_type());
  const at::Tensor text = which.each ? c.text : c.text.unsqueeze(0);
  const at::Tensor clip = (1 - (unit(in[0]).unsqueeze(1) * unit(text)).sum(2)).mean(1);
  const at::Tensor square = (in[1] - c.source).square().flatten(1);
  const at::Tensor l2 = which.mean ? square.mean(1) : square.sum(1);
  return {clip, l2, in[2].defined() ? 1 - (unit(in[2]) * unit(c.source_identity)).sum(1) : at::zeros_like(clip)};
}
Function plain(const Case& which) {
  return [which](const Tensors& in) {
    const Tensors parts = plain_parts(which, in);
    return which.clip * parts[0] + which.l2 * parts[1] + which.id * parts[2];
  };
}

std::string text(const Case& which) {
  return "n " + std::to_string(which.n) + ", d " + std::to_string(which.d) + ", texts " + std::to_string(which.texts);
}

TEST_CASE("edit_loss has the gradients of its plain composition and of finite differences, in float64") {
  for (const std::vector<Case>* table : {&kCases, &kLargeCases}) {
    for (const Case& which : *table) {
      at::manual_seed(32);
      const Tensors inputs = inputs_of(which);
      for (const std::string name : {"reference", "cpu"}) {
        CAPTURE(text(which));
        CAPTURE(name);
        const Forced forced("edit_loss", name);
        gradients::check_double(fused(which), plain(which), inputs, table == &kCases && which.d > 1);
        const Constants c = constants_of(which, at::kDouble);
        const EditLoss loss = edit_loss(inputs[0], c.text, inputs[1], c.source, inputs[2], c.source_identity, 1, 1,
                                        which.e > 0 ? 1 : 0, which.mean);
        CHECK(gradients::apart(loss.parts, at::stack(plain_parts(which, inputs), 1)) <= 1e-12);
        CHECK(gradients::apart(loss.total, loss.parts.sum(1)) <= 1e-12);
      }
    }
  }
}

TEST_CASE("edit_loss in float32 is as near to float64 as its plain composition, gradients and value") {
  for (const std::vector<Case>* table : {&kCases, &kLargeCases}) {
    for (const Case& which : *table) {
      if (which.d == 1) continue;  // the only gradient there is to the embedding is zero
      at::manual_seed(33);
      Tensors inputs = inputs_of(which), wide;
      for (at::Tensor& input : inputs) {
        if (input.defined()) input = input.to(at::kFloat);
        wide.push_back(input.defined() ? input.to(at::kDouble) : input);
      }
      const at::Tensor weights = at::randn({which.n}).to(at::kDouble);
      const auto wanted = gradients::derive(plain(which), wide, weights);
      const auto theirs = gradients::derive(plain(which), inputs, weights);
      for (const std::string name : {"reference", "cpu"}) {
        CAPTURE(text(which));
        CAPTURE(name);
        const Forced forced("edit_loss", name);
        const auto got = gradients::derive(fused(which), inputs, weights);
        CHECK((got.value.scalar_type() == at::kFloat));
        gradients::check_as_near(got, theirs, wanted, at::kFloat);
      }
    }
  }
}

TEST_CASE("edit_loss takes any mix of types, and each gradient comes back in its tensor's") {
  at::manual_seed(34);
  const at::Tensor text = at::randn({2, 6}), source = at::randn({3, 4, 5});
  const at::Tensor embedding = at::randn({3, 6}).to(at::kHalf).requires_grad_();
  const at::Tensor latents = at::randn({3, 4, 5}).to(at::kBFloat16).requires_grad_();
  const EditLoss loss = edit_loss(embedding, text.to(at::kBFloat16), latents, source, {}, {}, 1, 1, 0, true);
  CHECK((loss.total.scalar_type() == at::kFloat));
  CHECK_FALSE(loss.parts.requires_grad());
  const Tensors all = torch::autograd::grad({loss.total.sum()}, {embedding, latents});
  CHECK((all[0].scalar_type() == at::kHalf));
  CHECK((all[1].scalar_type() == at::kBFloat16));
  CHECK((edit_loss(embedding, text, latents, source.to(at::kDouble), {}, {}, 1, 1, 0, true).total.scalar_type() ==
         at::kDouble));
}

TEST_CASE("planted: no embedding, no text and no identity are at distance 1 and have no gradient; NaN stays") {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(name);
      const Forced forced("edit_loss", name);
      at::Tensor embedding = at::zeros({4, 2}, type);
      embedding[1][0] = 3;
      embedding[2][1] = 5;
      embedding[3][0] = NAN;
      const at::Tensor leaf = embedding.requires_grad_();
      const at::Tensor text = at::tensor({2.0, 0.0, 0.0, 0.0}, type).view({2, 2});
      const at::Tensor latents = at::ones({4, 2}, type), face = at::zeros({4, 3}, type);
      const EditLoss loss = edit_loss(leaf, text, latents, latents + 1, face, at::ones({4, 3}, type), 2, 0.5, 1, false);
      const at::Tensor clip = loss.parts.select(1, 0);
      CHECK(clip[0].item<double>() == 1);
      CHECK(clip[1].item<double>() == doctest::Approx(0.5));  // of (1 − 1) and (1 − 0)
      CHECK(clip[2].item<double>() == 1);
      CHECK(std::isnan(clip[3].item<double>()));
      CHECK(loss.parts.select(1, 1).eq(2).all().item<bool>());
      CHECK(loss.parts.select(1, 2).eq(1).all().item<bool>());
      CHECK(loss.total[1].item<double>() == doctest::Approx(2 * 0.5 + 0.5 * 2 + 1));
      const at::Tensor slopes = torch::autograd::grad({loss.total.slice(0, 0, 3).sum()}, {leaf})[0];
      CHECK(slopes[0].abs().sum().item<double>() == 0);
      CHECK(slopes[1].abs().sum().item<double>() <= 1e-7);
      CHECK(slopes[2][0].item<double>() == doctest::Approx(-2 * 0.5 / 5));
      const EditLoss without = edit_loss(embedding, text, latents, latents + 1, {}, {}, 0, 0.5, 0, false);
      CHECK(without.total[3].item<double>() == 1);  // λ = 0 leaves the NaN out of total
    }
  }
}

TEST_CASE("edit_loss: as they lie, on one thread and on two, under InferenceMode, no second derivative") {
  at::manual_seed(35);
  const Case which{6, 64, 2, true, {18, 64}, 64, 1, 0.008, 0.1};
  const Tensors inputs = inputs_of(which);
  const Constants c = constants_of(which, at::kDouble);
  const auto value = [&](const at::Tensor& embedding, const at::Tensor& latents, const at::Tensor& source) {
    return edit_loss(embedding, c.text, latents, source, inputs[2], c.source_identity, 1, 0.008, 0.1, false).total;
  };
  const at::Tensor wanted = value(inputs[0], inputs[1], c.source);
  CHECK(at::equal(wanted, value(inputs[0].t().contiguous().t(), inputs[1].transpose(1, 2).contiguous().transpose(1, 2),
                                c.source.repeat({1, 1, 2}).slice(2, 0, 64))));
  CHECK(at::equal(value(inputs[0], inputs[1], c.source.select(0, 0).unsqueeze(0).expand({6, 18, 64})),
                  value(inputs[0], inputs[1], c.source.select(0, 0).unsqueeze(0).repeat({6, 1, 1}))));
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    const c10::InferenceMode guard;
    CHECK(at::equal(value(inputs[0], inputs[1], c.source), wanted));
  }
  at::set_num_threads(before);
  const at::Tensor leaf = inputs[0].clone().requires_grad_();
  const at::Tensor total = value(leaf, inputs[1], c.source);
  CHECK(code_of([&] { (void)torch::autograd::grad({total.sum()}, {leaf}, {}, true, true); }) == ErrorCode::Argument);
}

TEST_CASE("arguments of edit_loss that do not fit are refused") {
  const at::Tensor e = at::ones({2, 4}), t = at::ones({3, 4}), w = at::ones({2, 5}), i = at::ones({2, 6});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("edit_loss", name);
    const auto code = [&](const at::Tensor& embedding, const at::Tensor& texts, const at::Tensor& latents,
                          const at::Tensor& source, const at::Tensor& identity, const at::Tensor& source_identity,
                          double clip, double l2, double id) {
      return code_of(
          [&] { (void)edit_loss(embedding, texts, latents, source, identity, source_identity, clip, l2, id, false); });
    };
    CHECK(code(e[0], t, w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(at::ones({2, 0}), at::ones({3, 0}), w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e.to(at::kLong), t, w, w, {}, {}, 1, 1, 0) == ErrorCode::Argument);
    CHECK(code(e, at::ones({3, 5}), w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, at::ones({3, 3, 4}), w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, at::ones({0, 4}), w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t[0], w, w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, at::ones({18, 5}), w, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, w, at::ones({2, 6}), {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, at::ones({2, 0}), at::ones({2, 0}), {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, w, {}, {}, {}, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, w, w, i, {}, 1, 1, 0) == ErrorCode::Argument);
    CHECK(code(e, t, w, w, i, at::ones({2, 5}), 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, w, w, at::ones({3, 6}), i, 1, 1, 0) == ErrorCode::Shape);
    CHECK(code(e, t, w, w, {}, {}, 1, 1, 0.1) == ErrorCode::Argument);
    CHECK(code(e, t, w, w, {}, {}, -1, 1, 0) == ErrorCode::Range);
    CHECK(code(e, t, w, w, {}, {}, 1, INFINITY, 0) == ErrorCode::Range);
    CHECK(code(e, t, w, w, i, i, 1, 1, std::nan("")) == ErrorCode::Range);
    CHECK(code(e, at::ones({3, 4}).requires_grad_(), w, w, {}, {}, 1, 1, 0) == ErrorCode::Argument);
  }
}

}  // namespace
