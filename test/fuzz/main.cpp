// Feeds damaged checkpoints to the reader and looks at everything that it makes of them.
//
//   styleclip_fuzz CORPUS [--count N] [--seed S] [--case I]
//
// CORPUS: a folder of sound files. Case I of seed S is the same on every machine; --case repeats a single one. A case is
// a finding when the reader ends in anything but a tree or an Error that calls the file damaged or unknown, takes over ten
// seconds, or makes the process grow by over 256 MiB; a crash says which case it was. STYLECLIP_SOAK=1 runs a hundred
// times the count.
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
constexpr std::int64_t kMostTouched = 1 << 22;  // elements of a tensor that repeats its storage

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
      case Kind::Tensor:
        if (const at::Tensor& tensor = value.tensor(); tensor.numel() <= kMostTouched) {
          const at::Tensor dense = tensor.clone(at::MemoryFormat::Contiguous);
          const auto* bytes = static_cast<const std::uint8_t*>(dense.const_data_ptr());
          for (std::size_t i = 0; i < dense.nbytes(); ++i) sum += bytes[i];
        }
        break;
      default: break;
    }
  }
  return sum;
}

struct Counts {
  std::uint64_t read = 0, damaged = 0, refused = 0, findings = 0;
  double slowest = 0;
};

void one_case(const std::string& path, const std::string& file, std::uint64_t index, Counts& counts) {
  std::ofstream(path, std::ios::binary) << file;
  const long before = peak_kib();
  const auto begun = std::chrono::steady_clock::now();
  const auto finding = [&](const char* what) {
    ++counts.findings;
    std::fprintf(stderr, "fuzz: case %llu: %s\n", static_cast<unsigned long long>(index), what);
  };
  ::alarm(kMostSeconds);
  try {
    const volatile double sum = look_at(Checkpoint::read(path, {}).root());
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
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() != ".json") paths.push_back(entry.path());
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
    std::fprintf(stderr, "styleclip_fuzz CORPUS [--count N] [--seed S] [--case I]\n");
    return 2;
  }
  std::uint64_t count = 50'000, seed = 1, first = 0;
  if (std::getenv("STYLECLIP_SOAK") != nullptr) count *= 100;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--count") == 0) count = value;
    if (std::strcmp(argv[i], "--seed") == 0) seed = value;
    if (std::strcmp(argv[i], "--case") == 0) first = value, count = 1;
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
  for (std::uint64_t index = first; index < first + count; ++index) {
    current_case = index;
    one_case(path, fuzz::mutate(corpus, seed * 1'000'003 + index), index, counts);
  }
  std::filesystem::remove(path);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  std::printf(
      "fuzz: %zu files, seed %llu, %llu cases in %.1f s (slowest %.3f s, peak %ld MiB): %llu read, %llu damaged, "
      "%llu refused, %llu findings\n",
      corpus.size(), static_cast<unsigned long long>(seed), static_cast<unsigned long long>(count), seconds,
      counts.slowest, peak_kib() / 1024, static_cast<unsigned long long>(counts.read),
      static_cast<unsigned long long>(counts.damaged), static_cast<unsigned long long>(counts.refused),
      static_cast<unsigned long long>(counts.findings));
  return counts.findings == 0 ? 0 : 1;
}
