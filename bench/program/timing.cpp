#include "timing.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "styleclip/error.h"

namespace styleclip::bench {
namespace {

constexpr std::array<std::pair<const char*, Precision>, 4> kPrecisions = {{{"float32", Precision::Float32},
                                                                           {"tf32", Precision::TF32},
                                                                           {"float16", Precision::Float16},
                                                                           {"bfloat16", Precision::BFloat16}}};
constexpr int kMatmulCalls = 5;

/// cuBLAS's TF32 for float32 matrix products, while this lives.
class TensorFloat32 {
 public:
  explicit TensorFloat32(bool on) : before_(at::globalContext().allowTF32CuBLAS()) {
    at::globalContext().setAllowTF32CuBLAS(on);
  }
  ~TensorFloat32() { at::globalContext().setAllowTF32CuBLAS(before_); }
  TensorFloat32(const TensorFloat32&) = delete;
  TensorFloat32& operator=(const TensorFloat32&) = delete;

 private:
  bool before_;
};

}  // namespace

void synchronize(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

double seconds_of(at::Device device, const std::function<void()>& work) {
  synchronize(device);
  const auto start = std::chrono::steady_clock::now();
  work();
  synchronize(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double typical_seconds(at::Device device, const std::function<void()>& work, int least, double budget) {
  seconds_of(device, work);
  std::vector<double> all;
  double sum = 0;
  while (static_cast<int>(all.size()) < least || sum < budget) {
    all.push_back(seconds_of(device, work));
    sum += all.back();
  }
  return median(std::move(all));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

nlohmann::ordered_json spread(const std::vector<double>& values) {
  return {{"median", median(values)}, {"all", values}};
}

std::string name(Precision precision) {
  for (const auto& [word, value] : kPrecisions) {
    if (value == precision) return word;
  }
  return "";
}

Precision precision_named(const std::string& name) {
  for (const auto& [word, value] : kPrecisions) {
    if (name == word) return value;
  }
  throw Error(ErrorCode::Argument, "There is no precision '" + name + "'.", "Use float32, tf32, float16 or bfloat16.");
}

at::ScalarType scalar_type(Precision precision) {
  if (precision == Precision::Float16) return at::kHalf;
  return precision == Precision::BFloat16 ? at::kBFloat16 : at::kFloat;
}

std::int64_t matmul_size(at::Device device) { return device.is_cpu() ? 2048 : 8192; }

double matmul_gflops(at::Device device, Precision precision) {
  const std::int64_t n = matmul_size(device);
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  const at::Tensor a = at::randn({n, n}, options).to(scalar_type(precision));
  const at::Tensor b = at::randn({n, n}, options).to(scalar_type(precision));
  at::Tensor c = at::empty({n, n}, a.options());
  const TensorFloat32 setting(precision == Precision::TF32);
  const double seconds = typical_seconds(device, [&] { at::mm_out(c, a, b); }, kMatmulCalls, 0);
  return 2e-9 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds;
}

double copy_gbs(at::Device device) {
  const std::int64_t numbers = std::int64_t{1} << (device.is_cpu() ? 26 : 28);  // 256 MiB, 1 GiB
  const at::Tensor from = at::ones({numbers}, at::TensorOptions(device).dtype(at::kFloat));
  at::Tensor to = at::ones({numbers}, from.options());
  const double seconds = typical_seconds(device, [&] { to.copy_(from); }, 5, 0);
  return 1e-9 * 2.0 * static_cast<double>(from.nbytes()) / seconds;
}

void Ceilings::measure(const std::vector<Precision>& precisions) {
  for (const Precision precision : precisions) matmul[name(precision)].push_back(matmul_gflops(device, precision));
  copy.push_back(copy_gbs(device));
}

void Ceilings::add(const Ceilings& other) {
  for (const auto& [word, all] : other.matmul) matmul[word].insert(matmul[word].end(), all.begin(), all.end());
  copy.insert(copy.end(), other.copy.begin(), other.copy.end());
}

double Ceilings::gflops(Precision precision) const {
  const std::vector<double>& all = matmul.at(name(precision));
  return *std::max_element(all.begin(), all.end());
}

double Ceilings::gbs() const { return *std::max_element(copy.begin(), copy.end()); }

nlohmann::ordered_json Ceilings::json() const {
  nlohmann::ordered_json products;
  for (const auto& [word, all] : matmul) {
    products[word] = {{"gflops", *std::max_element(all.begin(), all.end())}, {"all", all}};
  }
  return {{"matmul", {{"size", matmul_size(device)}, {"byPrecision", products}}},
          {"copy", {{"gigabytesPerSecond", gbs()}, {"all", copy}}}};
}

}  // namespace styleclip::bench
