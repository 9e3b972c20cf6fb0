// Batch sizes from memory. Estimates err to the large side: a batch that is half of what would fit costs little, one
// that does not fit ends the run.
#include "relevance/batching.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/core/Device.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "styleclip/error.h"

namespace styleclip {
namespace {

// Float32 activations of the widest block that are alive at once: a layer's input, its convolution's output before and
// after the FIR filter, noise, activation, and the scaled copies of a modulated convolution.
constexpr std::int64_t kLiveActivations = 8;
// Numbers that CLIP's image tower keeps for each pixel of its input: RN50's stem holds three maps of 64 channels at
// half resolution (48 a pixel) and their copies; the ViTs need less.
constexpr std::int64_t kClipNumbersPerPixel = 128;
// Pictures a forward beyond which nothing is gained: on a CPU the activations of more fall out of its caches.
constexpr std::int64_t kLargestCpuBatch = 64;
constexpr std::int64_t kLargestDeviceBatch = 256;

constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();

// The number in a file that holds just one ("max" and absent files count as no limit).
std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : kUnknown;
}

std::int64_t available_to_process() {
  std::int64_t available = kUnknown;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t kib = 0;
    if (words >> key >> kib && key == "MemAvailable:") available = kib * 1024;
  }
  if (available == kUnknown) {
    available = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE) / 2;
  }
  // Control groups, version 2 (as a container sees its own). Page cache counts as used there, so this may be too low.
  const std::int64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const std::int64_t used = number_in("/sys/fs/cgroup/memory.current");
  if (limit != kUnknown && used != kUnknown) available = std::min(available, std::max<std::int64_t>(0, limit - used));
  return available;
}

}  // namespace

std::int64_t free_memory(const std::string& device) {
  const c10::Device parsed(device);
  if (parsed.is_cpu()) return available_to_process();
  const auto index = parsed.has_index() ? parsed.index() : c10::DeviceIndex{0};
  return static_cast<std::int64_t>(at::accelerator::getMemoryInfo(index).first);
}

std::int64_t picture_bytes(const StyleLayout& layout, std::int64_t clip_size) {
  std::int64_t widest = 0;  // numbers in the largest activation
  for (const StyleLayer& layer : layout.layers) {
    if (layer.to_rgb) widest = std::max(widest, layer.channels * layer.resolution * layer.resolution);
  }
  const std::int64_t generator = kLiveActivations * widest;
  const std::int64_t clip = kClipNumbersPerPixel * clip_size * clip_size;
  return static_cast<std::int64_t>(sizeof(float)) * (generator + clip + layout.total());
}

std::int64_t choose_batch(std::int64_t wanted, std::int64_t memory_bytes, std::int64_t bytes_per_picture,
                          const std::string& device) {
  if (wanted < 0 || memory_bytes < 0) {
    throw Error(ErrorCode::Range, "A negative batch size or memory bound.", "Use 0 to have it chosen.");
  }
  if (wanted > 0) return wanted;
  const std::int64_t memory = memory_bytes > 0 ? memory_bytes : free_memory(device) / 4;
  const std::int64_t largest = c10::Device(device).is_cpu() ? kLargestCpuBatch : kLargestDeviceBatch;
  return std::clamp<std::int64_t>(memory / std::max<std::int64_t>(1, bytes_per_picture), 1, largest);
}

void halve_or_rethrow(std::int64_t& batch, std::int64_t pictures, std::int64_t smallest, const std::string& device) {
  try {
    rethrow_translated("sweep the style channels");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::OutOfMemory || pictures <= smallest) throw;
  }
  batch = std::min(batch, std::max(smallest, pictures / 2));
  if (!c10::Device(device).is_cpu()) at::accelerator::emptyCache();
}

}  // namespace styleclip
