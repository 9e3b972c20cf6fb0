// Feeds damaged checkpoints to the reader and looks at everything that it makes of them.
//
//   styleclip_fuzz CORPUS [--count N] [--seconds T] [--seed S] [--case I] [--models 1]
//
// CORPUS: a folder of sound files, and folders in it. Case I of seed S is the same on every machine; --case repeats a
// single one. With --models every importer that recognises a file is asked for the model in it, too. A case is a finding
// when it ends in anything but a tree or an Error that tells what is wrong with the file, takes over ten seconds, makes the
// process grow by over 256 MiB, or asks the system for more than a GiB of memory at once (which is refused: RLIMIT_AS); a
// crash says which case it was. --seconds ends a run early; STYLECLIP_SOAK=1 runs a hundred times the count.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/node.h"
#include "importing/importer.h"
#include "mutate.h"
#include "styleclip/error.h"

namespace {

using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::checkpoint::Checkpoint;
using styleclip::checkpoint::Value;
using Kind = Value::Kind;

constexpr unsigned kMostSeconds = 10;
constexpr long kMostGrowthKiB = 256 * 1024;
constexpr rlim_t kMostAddressSpace = rlim_t{1} << 30;  // beyond what the process has when the first case begins
constexpr std::uint64_t kWarmUp = 100;                 // cases until allocator and libtorch have settled
constexpr std::int64_t kMostTouched = 1 << 22;         // elements of a tensor that repeats its storage

volatile std::uint64_t current_case = 0;

/// Only what a signal handler may call.
void crashed(int signal) {
  char text[64] = "fuzz: crashed or hung in case ";
  std::size_t length = std::strlen(text);
  char digits[20];
  std::size_t count = 0;
  for (std::uint64_t left = current_case; left > 0 || count == 0; left /= 10)
    digits[count++] = static_cast<char>('0' + left % 10);
  while (count > 0) text[length++] = digits[--count];
  text[length++] = '\n';
  if (::write(STDERR_FILENO, text, length) < 0) ::_exit(3);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

long peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/// What is asked for and never touched does not show in the peak: the system is told to refuse it.
void limit_address_space() {
  // AddressSanitizer's shadow alone is larger than any limit.
#if !defined(__SANITIZE_ADDRESS__)
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  if (!(file >> pages)) return;
  const rlim_t most = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + kMostAddressSpace;
  const rlimit limit{most, most};
  if (::setrlimit(RLIMIT_AS, &limit) != 0) std::fprintf(stderr, "fuzz: the address space cannot be limited\n");
#endif
}

double sum_of(const at::Tensor& tensor) {
  if (tensor.numel() > kMostTouched) return 0;
  const at::Tensor dense = tensor.clone(at::MemoryFormat::Contiguous);
  const auto* bytes = static_cast<const std::uint8_t*>(dense.const_data_ptr());
  double sum = 0;
  for (std::size_t i = 0; i < dense.nbytes(); ++i) sum += bytes[i];
  return sum;
}

/// Visits each value once and reads every number of every tensor.
double look_at(const Value& root) {
  double sum = 0;
  std::unordered_set<const void*> seen;
  std::vector<Value> todo{root};
  const auto add_entries = [&](const std::vector<std::pair<Value, Value>>& entries) {
    for (const auto& [key, value] : entries) todo.push_back(key), todo.push_back(value);
  };
  while (!todo.empty()) {
    const Value value = todo.back();
    todo.pop_back();
    if (!value.node() || !seen.insert(value.node().get()).second) continue;
    switch (value.kind()) {
      case Kind::String:
      case Kind::Bytes: sum += static_cast<double>(value.text().size()); break;
      case Kind::List:
      case Kind::Tuple:
      case Kind::Set: todo.insert(todo.end(), value.items().begin(), value.items().end()); break;
      case Kind::Dict:
        value.find("g_ema");
        add_entries(value.entries());
        break;
      case Kind::Object:
        sum += static_cast<double>(value.class_name().size());
        todo.push_back(value.arguments()), todo.push_back(value.state());
        todo.insert(todo.end(), value.items().begin(), value.items().end());
        add_entries(value.entries());
        break;
      case Kind::Tensor: sum += sum_of(value.tensor()); break;
      default: break;
    }
  }
  return sum;
}

struct Counts {
  std::uint64_t read = 0, damaged = 0, refused = 0, models = 0, findings = 0;
  double slowest = 0;
};

/// Every model that the file holds, each importer on its own: one that refuses must not hide the next.
double take_models(const Checkpoint& file, Counts& counts) {
  double sum = 0;
  for (const styleclip::importing::Importer& importer : styleclip::importing::importers()) {
    try {
      if (!importer.recognises(file)) continue;
      const styleclip::importing::Imported imported = importer.import(file, {});
      for (const auto& [name, tensor] : imported.weights) sum += sum_of(tensor);
      ++counts.models;
    } catch (const Error& error) {
      // A size outside a configuration's bounds is told as such.
      const bool told = error.code() == ErrorCode::ModelMismatch || error.code() == ErrorCode::FormatUnknown ||
                        error.code() == ErrorCode::Range;
      if (!told) throw;
    }
  }
  return sum;
}

void one_case(const std::string& path, const std::string& file, std::uint64_t index, bool models, Counts& counts) {
  std::ofstream(path, std::ios::binary) << file;
  const long before = peak_kib();
  const auto begun = std::chrono::steady_clock::now();
  const auto finding = [&](const char* what) {
    ++counts.findings;
    std::fprintf(stderr, "fuzz: case %llu: %s\n", static_cast<unsigned long long>(index), what);
  };
  ::alarm(kMostSeconds);
  try {
    const Checkpoint checkpoint = Checkpoint::read(path, {});
    const volatile double sum = look_at(checkpoint.root()) + (models ? take_models(checkpoint, counts) : 0);
    (void)sum;
    ++counts.read;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::FileDamaged) {
      ++counts.damaged;
    } else if (error.code() == ErrorCode::FormatUnknown) {
      ++counts.refused;
    } else {
      finding((std::string(error.what()) + " " + error.cause()).c_str());
    }
  } catch (const std::exception& error) {
    finding(error.what());
  }
  ::alarm(0);
  counts.slowest =
      std::max(counts.slowest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  if (peak_kib() - before > kMostGrowthKiB) finding("it took more than 256 MiB");
}

std::vector<std::string> read_corpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    // Neither configurations nor what tests expect of the files.
    const bool other =
        entry.path().extension() == ".json" || entry.path().string().find("expected") != std::string::npos;
    if (entry.is_regular_file() && !other) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // a case must not depend on the folder's order
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc % 2 != 0) {
    std::fprintf(stderr, "styleclip_fuzz CORPUS [--count N] [--seconds T] [--seed S] [--case I] [--models 1]\n");
    return 2;
  }
  std::uint64_t count = 50'000, seed = 1, first = 0, most_seconds = ~0ULL;
  bool models = false;
  if (std::getenv("STYLECLIP_SOAK") != nullptr) count *= 100;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--count") == 0) count = value;
    if (std::strcmp(argv[i], "--seed") == 0) seed = value;
    if (std::strcmp(argv[i], "--seconds") == 0) most_seconds = value;
    if (std::strcmp(argv[i], "--case") == 0) first = value, count = 1;
    if (std::strcmp(argv[i], "--models") == 0) models = value != 0;
  }
  const std::vector<std::string> corpus = read_corpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "fuzz: %s holds no files\n", argv[1]);
    return 2;
  }
  at::set_num_threads(1);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) ::signal(signal, crashed);
  const std::string path =
      (std::filesystem::temp_directory_path() / ("styleclip-fuzz-" + std::to_string(::getpid()))).string();
  Counts counts;
  const auto begun = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  std::uint64_t done = 0;
  for (; done < count && elapsed() < static_cast<double>(most_seconds); ++done) {
    if (done == std::min(kWarmUp, count - 1)) limit_address_space();
    current_case = first + done;
    one_case(path, fuzz::mutate(corpus, seed * 1'000'003 + current_case), current_case, models, counts);
  }
  std::filesystem::remove(path);
  const double seconds = elapsed();
  std::printf(
      "fuzz: %zu files, seed %llu, %llu cases in %.1f s (slowest %.3f s, peak %ld MiB): %llu read, %llu damaged, "
      "%llu refused, %llu models taken, %llu findings\n",
      corpus.size(), static_cast<unsigned long long>(seed), static_cast<unsigned long long>(done), seconds,
      counts.slowest, peak_kib() / 1024, static_cast<unsigned long long>(counts.read),
      static_cast<unsigned long long>(counts.damaged), static_cast<unsigned long long>(counts.refused),
      static_cast<unsigned long long>(counts.models), static_cast<unsigned long long>(counts.findings));
  return counts.findings == 0 ? 0 : 1;
}
