// Seconds of work on any device, and what they are held against: how fast this machine multiplies matrices and copies.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "styleclip/relevance.h"

namespace styleclip::bench {

/// Waits for what was started on a device.
void synchronize(at::Device device);
/// Seconds of one call, the device's own work included.
double seconds_of(at::Device device, const std::function<void()>& work);
/// The median over at least `least` calls that take `budget` seconds in all; one call before them is not counted.
double typical_seconds(at::Device device, const std::function<void()>& work, int least = 5, double budget = 0.25);

double median(std::vector<double> values);
/// {"median", "all"}
nlohmann::ordered_json spread(const std::vector<double>& values);

/// "float32", "tf32", "float16", "bfloat16"
std::string name(Precision precision);
/// Throws Argument.
Precision precision_named(const std::string& name);
/// The number type in memory.
at::ScalarType scalar_type(Precision precision);

/// GFLOP/s of one square matrix product: 2048³ on a CPU, 8192³ on CUDA.
double matmul_gflops(at::Device device, Precision precision);
std::int64_t matmul_size(at::Device device);
/// GB/s of one large copy, bytes read plus bytes written.
double copy_gbs(at::Device device);

/// What this device does at best now: each the best of `turns` measurements, since a ceiling is not lowered by a busy
/// moment.
struct Ceilings {
  std::map<std::string, std::vector<double>> matmul;  // GFLOP/s by precision
  std::vector<double> copy;                           // GB/s
  at::Device device = at::kCPU;

  void measure(const std::vector<Precision>& precisions);
  /// What another measured.
  void add(const Ceilings& other);
  double gflops(Precision precision) const;
  double gbs() const;
  nlohmann::ordered_json json() const;
};

}  // namespace styleclip::bench
