// Internal, for the tests of the binding: jobs that need no model. Exported only with STYLECLIP_TEST_HOOKS=1 in the
// environment, and no part of any interface.
//
//   testJob({ iterations, size }, run): Promise<number>
//     `iterations` times the forward and backward pass of a convolution over 8 pictures of `size` pixels with 32 channels,
//     checking between two of them whether it was stopped. Convolution with backward is what crashed processes that left
//     while it ran; a matrix product does not. Resolves to the norm of the last gradient.
//   testFailure(kind, run): Promise<never>
//     throws an exception of that kind on the device thread: 'c10', 'std', 'memory', 'foreign', 'error'.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/randn.h>

#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "batches.h"
#include "convert.h"
#include "environment.h"
#include "exports.h"
#include "groups.h"

namespace styleclip::binding {
namespace {

double convolve(std::int64_t iterations, std::int64_t size, const RunContext& run) {
  const at::AutoGradMode gradients(true);
  const at::Tensor images = at::randn({8, 32, size, size});
  const at::Tensor weights = at::randn({32, 32, 3, 3}).requires_grad_(true);
  in_batches(run, "test", iterations, 1, "iterations", [&](std::int64_t /*first*/, std::int64_t /*count*/) {
    weights.mutable_grad().reset();
    at::conv2d(images, weights, {}, 1, 1).square().mean().backward();
  });
  return weights.grad().norm().item<double>();
}

Napi::Value test_job(const Napi::CallbackInfo& info) {
  const Options options(info[0], "options");
  const std::int64_t iterations = options.integer("iterations", 1, 1'000'000);
  const std::int64_t size = options.integer("size", 1, 1024);
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "run a test job",
          [=](const RunContext& run) { return convolve(iterations, size, run); },
          [](Napi::Env env, double&& norm) -> Napi::Value { return Napi::Number::New(env, norm); });
}

void fail(std::string_view kind) {
  if (kind == "c10") TORCH_CHECK(false, "a failure of libtorch");
  if (kind == "std") throw std::runtime_error("a failure of the standard library");
  if (kind == "memory") throw std::bad_alloc();
  if (kind == "foreign") throw 42;  // NOLINT(hicpp-exception-baseclass): the point of this case
  refuse(ErrorCode::Range, "a failure of ours", "Nothing: this is a test.");
}

Napi::Value test_failure(const Napi::CallbackInfo& info) {
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "fail on purpose",
          [kind = read_text(info[0], "kind")](const RunContext&) { fail(kind); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

}  // namespace

void export_test_hooks(Napi::Env env, Napi::Object exports) {
  // JavaScript's view of the variables: a worker has its own.
  const auto process = env.Global().Get("process").As<Napi::Object>();
  const Napi::Value wanted = process.Get("env").As<Napi::Object>().Get("STYLECLIP_TEST_HOOKS");
  if (!wanted.IsString() || wanted.As<Napi::String>().Utf8Value() != "1") return;
  add_asynchronous<test_job>(exports, "testJob");
  add_asynchronous<test_failure>(exports, "testFailure");
}

}  // namespace styleclip::binding
