// The fast CPU implementation of edit_loss with its gradients: a latent's numbers are read once from memory, sums are
// float64. Latents run in parallel, each one by one thread.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cmath>
#include <vector>

#include "ops/edit_loss.h"
#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

// Independent partial sums, which the compiler keeps in registers.
constexpr std::int64_t kLanes = 16;

template <typename A, typename B>
STYLECLIP_INLINE double product_body(const A* __restrict a, const B* __restrict b, std::int64_t count) {
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    }
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

// to += weight from
template <typename A>
STYLECLIP_INLINE void add_body(const A* __restrict from, double weight, std::int64_t count, double* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += weight * static_cast<double>(from[i]);
}

// to = lambda (cosine / length x − aim) / length
template <typename A>
STYLECLIP_INLINE void slope_body(const A* __restrict x, const double* __restrict aim, double cosine, double length,
                                 double lambda, std::int64_t count, A* __restrict to) {
  const double along = cosine / length, scale = lambda / length;
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<A>(scale * (along * static_cast<double>(x[i]) - aim[i]));
  }
}

// Σ (a − b)², and to = factor (a − b) where `to` is not null.
template <typename A>
STYLECLIP_INLINE double change_body(const A* __restrict a, const A* __restrict b, double factor, std::int64_t count,
                                    A* __restrict to) {
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double change = static_cast<double>(a[i + lane]) - static_cast<double>(b[i + lane]);
      lanes[lane] += change * change;
    }
  }
  double sum = 0;
  for (; i < count; ++i) {
    const double change = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += change * change;
  }
  for (const double lane : lanes) sum += lane;
  if (to != nullptr) {
    for (i = 0; i < count; ++i) {
      to[i] = static_cast<A>(factor * (static_cast<double>(a[i]) - static_cast<double>(b[i])));
    }
  }
  return sum;
}

STYLECLIP_CLONED double product(const float* a, const float* b, std::int64_t n) { return product_body(a, b, n); }
STYLECLIP_CLONED double product(const double* a, const double* b, std::int64_t n) { return product_body(a, b, n); }
STYLECLIP_CLONED double product(const float* a, const double* b, std::int64_t n) { return product_body(a, b, n); }
STYLECLIP_CLONED void add(const float* from, double w, std::int64_t n, double* to) { add_body(from, w, n, to); }
STYLECLIP_CLONED void add(const double* from, double w, std::int64_t n, double* to) { add_body(from, w, n, to); }
STYLECLIP_CLONED void slope(const float* x, const double* aim, double cosine, double length, double lambda,
                            std::int64_t n, float* to) {
  slope_body(x, aim, cosine, length, lambda, n, to);
}
STYLECLIP_CLONED void slope(const double* x, const double* aim, double cosine, double length, double lambda,
                            std::int64_t n, double* to) {
  slope_body(x, aim, cosine, length, lambda, n, to);
}
STYLECLIP_CLONED double change(const float* a, const float* b, double factor, std::int64_t n, float* to) {
  return change_body(a, b, factor, n, to);
}
STYLECLIP_CLONED double change(const double* a, const double* b, double factor, std::int64_t n, double* to) {
  return change_body(a, b, factor, n, to);
}

/// aim [d] = the mean of the unit vectors of `count` rows; rows of zeros add none.
template <typename A>
void aim_at(const A* rows, std::int64_t count, std::int64_t d, std::vector<double>& aim) {
  aim.assign(static_cast<std::size_t>(d), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const A* row = rows + i * d;
    const double length = std::sqrt(product(row, row, d));
    if (length != 0) add(row, 1 / (length * static_cast<double>(count)), d, aim.data());
  }
}

/// 1 − ⟨x / |x|, aim⟩, and lambda times its gradient where `to` is not null.
template <typename A>
double distance(const A* x, const std::vector<double>& aim, double lambda, A* to) {
  const auto d = static_cast<std::int64_t>(aim.size());
  const double length = std::sqrt(product(x, x, d));
  if (length == 0) {
    if (to != nullptr) std::fill(to, to + d, A{0});
    return 1;
  }
  const double cosine = product(x, aim.data(), d) / length;
  if (to != nullptr) slope(x, aim.data(), cosine, length, lambda, d, to);
  return 1 - cosine;
}

}  // namespace

LossAndGradients edit_loss_gradients_cpu(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                                         const at::Tensor& source, const at::Tensor& identity,
                                         const at::Tensor& source_identity, double lambda_clip, double lambda_l2,
                                         double lambda_id, bool mean, WantedOfLoss wanted) {
  check_edit_loss(embedding, text, latents, source, identity, source_identity, lambda_clip, lambda_l2, lambda_id);
  const auto dense = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.contiguous() : tensor; };
  const at::Tensor e = dense(embedding), t = dense(text), w = dense(latents), s = dense(source), i = dense(identity),
                   j = dense(source_identity);
  const std::int64_t n = e.size(0), d = e.size(1), texts = t.size(-2);
  const std::int64_t numbers = n == 0 ? 1 : w.numel() / n, faces = i.defined() ? i.size(1) : 0;
  const auto like = [](const at::Tensor& tensor, bool is_wanted) {
    return is_wanted ? at::empty(tensor.sizes(), tensor.options(), at::MemoryFormat::Contiguous) : at::Tensor();
  };
  at::Tensor total = at::empty({n}, e.options()), parts = at::empty({n, 3}, e.options());
  at::Tensor to_embedding = like(e, wanted[0]), to_latents = like(w, wanted[1]),
             to_identity = like(i, wanted[2] && i.defined());
  const double share = mean ? 1 / static_cast<double>(numbers) : 1;
  rows::for_any_type(e.scalar_type(), [&]<typename T> {
    if constexpr (std::is_same_v<T, rows::Wide<T>>) {  // the check lets nothing else through
      const auto row = [](const at::Tensor& tensor, std::int64_t at) -> const T* {
        return tensor.defined() ? tensor.const_data_ptr<T>() + at : nullptr;
      };
      const auto out = [](at::Tensor& tensor, std::int64_t at) -> T* {
        return tensor.defined() ? tensor.mutable_data_ptr<T>() + at : nullptr;
      };
      std::vector<double> shared;
      if (t.dim() == 2) aim_at(row(t, 0), texts, d, shared);
      at::parallel_for(
          0, n, rows::grain(numbers + (2 + texts) * d + 3 * faces), [&](std::int64_t begin, std::int64_t end) {
            std::vector<double> own;
            for (std::int64_t k = begin; k < end; ++k) {
              if (t.dim() == 3) aim_at(row(t, k * texts * d), texts, d, own);
              const double clip =
                  distance(row(e, k * d), t.dim() == 3 ? own : shared, lambda_clip, out(to_embedding, k * d));
              const double l2 = share * change(row(w, k * numbers), row(s, k * numbers), 2 * share * lambda_l2, numbers,
                                               out(to_latents, k * numbers));
              double id = 0;
              if (i.defined()) {
                aim_at(row(j, k * faces), 1, faces, own);
                id = distance(row(i, k * faces), own, lambda_id, out(to_identity, k * faces));
              }
              T* part = out(parts, 3 * k);
              part[0] = static_cast<T>(clip);
              part[1] = static_cast<T>(l2);
              part[2] = static_cast<T>(id);
              // A weight of zero leaves a part out, even one that is not finite.
              double sum = 0;
              if (lambda_clip > 0) sum += lambda_clip * clip;
              if (lambda_l2 > 0) sum += lambda_l2 * l2;
              if (lambda_id > 0) sum += lambda_id * id;
              *out(total, k) = static_cast<T>(sum);
            }
          });
    }
  });
  return {total, parts, to_embedding, to_latents, to_identity};
}

}  // namespace styleclip
