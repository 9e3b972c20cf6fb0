#include "block.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <sstream>
#include <thread>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define STYLECLIP_POISON(address, bytes) __asan_poison_memory_region(address, bytes)
#define STYLECLIP_UNPOISON(address, bytes) __asan_unpoison_memory_region(address, bytes)
#else
#define STYLECLIP_POISON(address, bytes) static_cast<void>(address)
#define STYLECLIP_UNPOISON(address, bytes) static_cast<void>(address)
#endif

namespace cuda_host {
namespace {

// Room for all shared variables, each followed by a gap that AddressSanitizer watches.
constexpr std::size_t kGap = 64;
constexpr std::size_t kArena = kMaxStaticSharedBytes + 64 * 2 * kGap;

thread_local Thread* running = nullptr;

std::string where(const Site& site) {
  if (site.operation == nullptr) return "runs";
  const std::string file = site.file;
  std::ostringstream text;
  text << "waits at " << site.operation << " (" << file.substr(file.rfind('/') + 1) << ":" << site.line << ")";
  return text.str();
}

std::string name(const Thread& thread) {
  std::ostringstream text;
  const uint3& block = thread.block->index();
  text << "thread " << thread.rank << " of block (" << block.x << ", " << block.y << ", " << block.z << ")";
  return text.str();
}

Site site_of(const Thread& thread) {
  return {thread.operation.load(std::memory_order_relaxed), thread.file.load(std::memory_order_relaxed),
          thread.line.load(std::memory_order_relaxed)};
}

/// Brings the thread into round `round` of the meeting and returns the round's slots, one per member.
const Meeting::Slot* meet(Thread& thread, Meeting& meeting, std::uint64_t round, const Site& site,
                          std::span<const std::uint64_t> words, bool ordered) {
  Meeting::Slot* slots = meeting.slots[round % 2].get();
  Meeting::Slot& mine = slots[thread.rank - meeting.first];
  for (std::size_t i = 0; i < words.size(); ++i) mine.words[i].store(words[i], std::memory_order_relaxed);
  mine.operation.store(site.operation, std::memory_order_relaxed);
  mine.line.store(site.line, std::memory_order_relaxed);
  thread.file.store(site.file, std::memory_order_relaxed);
  thread.line.store(site.line, std::memory_order_relaxed);
  thread.operation.store(site.operation, std::memory_order_relaxed);
  thread.block->engine().wait(thread, meeting, (round + 1) * static_cast<std::uint64_t>(meeting.size), ordered);
  thread.operation.store(nullptr, std::memory_order_relaxed);

  const Meeting::Slot& other = slots[0];
  const char* operation = other.operation.load(std::memory_order_relaxed);
  const unsigned line = other.line.load(std::memory_order_relaxed);
  if (line != site.line || std::strcmp(operation, site.operation) != 0) {
    throw Error("divergent: " + name(thread) + " " + where(site) + ", while " +
                name(thread.block->thread(meeting.first)) + " " + where({operation, site.file, line}));
  }
  return slots;
}

void require_full(const char* operation, unsigned mask) {
  if (mask != kFullMask) throw Error(std::string(operation) + ": masks other than the full one are not emulated");
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// Threads

Options& options() {
  thread_local Options chosen;
  return chosen;
}

Thread& self() {
  if (running == nullptr) throw Error("device code was called outside a kernel");
  return *running;
}

void set_self(Thread* thread) { running = thread; }

void Thread::meet_block(const char* operation, const std::source_location& at) {
  meet(*this, block->everyone(), block_rounds++, {operation, at.file_name(), at.line()}, {}, true);
}

void Thread::sync_warp(const char* operation, unsigned mask, const std::source_location& at) {
  require_full(operation, mask);
  meet(*this, block->warp(rank / kWarpSize), warp_rounds++, {operation, at.file_name(), at.line()}, {}, true);
}

WarpValues Thread::meet_warp(const char* operation, unsigned mask, std::span<const std::uint64_t> words,
                             const std::source_location& at) {
  require_full(operation, mask);
  return WarpValues(
      meet(*this, block->warp(rank / kWarpSize), warp_rounds++, {operation, at.file_name(), at.line()}, words, false));
}

Meeting::Meeting(int first_thread, int thread_count)
    : first(first_thread),
      size(thread_count),
      slots{std::make_unique<Slot[]>(static_cast<std::size_t>(thread_count)),
            std::make_unique<Slot[]>(static_cast<std::size_t>(thread_count))} {}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks

Block::Block(Engine& engine, dim3 grid, dim3 threads, uint3 index, std::size_t dynamic_bytes)
    : engine_(engine),
      grid_(grid),
      threads_(threads),
      index_(index),
      size_(static_cast<int>(threads.x * threads.y * threads.z)),
      members_(std::make_unique<Thread[]>(static_cast<std::size_t>(size_))),
      everyone_(0, size_),
      shared_(std::make_unique<std::byte[]>(kArena)),
      dynamic_(std::make_unique<std::byte[]>(dynamic_bytes)) {
  for (int rank = 0; rank < size_; ++rank) {
    Thread& thread = members_[rank];
    const auto at = static_cast<unsigned>(rank);
    thread.block = this;
    thread.rank = rank;
    thread.thread = {at % threads.x, at / threads.x % threads.y, at / (threads.x * threads.y)};
    if (rank % kWarpSize == 0) warps_.push_back(std::make_unique<Meeting>(rank, kWarpSize));
  }
  std::memset(shared_.get(), 0xff, kArena);
  std::memset(dynamic_.get(), 0xff, dynamic_bytes);
  STYLECLIP_POISON(shared_.get(), kArena);
}

Block::~Block() { STYLECLIP_UNPOISON(shared_.get(), kArena); }

void* Block::shared_memory(const void* key, std::size_t bytes, std::size_t alignment) {
  constexpr auto relaxed = std::memory_order_relaxed;
  while (shared_busy_.exchange(true, relaxed)) std::this_thread::yield();
  std::atomic_thread_fence(std::memory_order_acquire);
  const std::size_t count = variable_count_.load(relaxed);
  std::size_t index = 0;
  while (index < count && variables_[index].key.load(relaxed) != key) ++index;
  bool room = true;
  if (index == count) {
    const std::size_t start = (shared_used_.load(relaxed) + kGap + alignment - 1) / alignment * alignment;
    const std::size_t counted = shared_counted_.load(relaxed) + bytes;
    room = counted <= kMaxStaticSharedBytes && count < variables_.size();
    if (room) {
      STYLECLIP_UNPOISON(shared_.get() + start, bytes);
      variables_[index].key.store(key, relaxed);
      variables_[index].address.store(shared_.get() + start, relaxed);
      variable_count_.store(count + 1, relaxed);
      shared_used_.store(start + bytes, relaxed);
      shared_counted_.store(counted, relaxed);
    }
  }
  std::byte* address = room ? variables_[index].address.load(relaxed) : nullptr;
  std::atomic_thread_fence(std::memory_order_release);
  shared_busy_.store(false, relaxed);
  if (!room) throw Error("more than 48 KiB (or 64 variables) of static shared memory in a block");
  return address;
}

Error Block::stuck() {
  const Thread* waiting = nullptr;
  for (int rank = 0; rank < size_ && waiting == nullptr; ++rank) {
    if (!members_[rank].finished && site_of(members_[rank]).operation != nullptr) waiting = &members_[rank];
  }
  if (waiting == nullptr) return Error("a block's threads stopped without waiting");  // a bug of the emulator
  const Site site = site_of(*waiting);
  std::string others;
  for (int rank = 0; rank < size_ && others.empty(); ++rank) {
    const Thread& thread = members_[rank];
    const Site at = site_of(thread);
    if (thread.finished) {
      others = name(thread) + " has finished";
    } else if (at.operation == nullptr || at.line != site.line || std::strcmp(at.operation, site.operation) != 0) {
      others = name(thread) + " " + where(at);
    }
  }
  return Error("divergent: " + name(*waiting) + " " + where(site) + " for ever, while " + others);
}

// ---------------------------------------------------------------------------------------------------------------------
// Grids

bool is_valid_configuration(const dim3& blocks, const dim3& threads) {
  const std::uint64_t count = std::uint64_t{threads.x} * threads.y * threads.z;
  return count >= 1 && count <= kMaxBlockThreads && blocks.x >= 1 && blocks.y >= 1 && blocks.z >= 1 &&
         blocks.x <= static_cast<unsigned>(std::numeric_limits<int>::max()) && blocks.y <= 65535 && blocks.z <= 65535;
}

void run_grid(const dim3& blocks, const dim3& threads, std::size_t dynamic_bytes, const std::function<void()>& kernel) {
  if (threads.x * threads.y * threads.z % kWarpSize != 0) throw Error("blocks of part of a warp are not emulated");
  const Options chosen = options();
  Shuffler shuffler(chosen.seed);
  const std::uint64_t all = std::uint64_t{blocks.x} * blocks.y * blocks.z;
  std::vector<std::uint64_t> order(all < chosen.parts ? all : all / chosen.parts);
  std::iota(order.begin(), order.end(), all - order.size());
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[shuffler.below(i)]);

  const auto run_block = [&](std::uint64_t at, std::uint64_t seed) {
    const auto engine = chosen.real_threads ? make_threads() : make_fibers(seed);
    const uint3 index{static_cast<unsigned>(at % blocks.x), static_cast<unsigned>(at / blocks.x % blocks.y),
                      static_cast<unsigned>(at / blocks.x / blocks.y)};
    Block block(*engine, blocks, threads, index, dynamic_bytes);
    engine->run(block, kernel);
  };
  if (!chosen.real_threads) {
    for (const std::uint64_t at : order) run_block(at, shuffler());
    return;
  }
  // Two blocks at a time, so that ThreadSanitizer sees races between blocks too.
  for (std::size_t i = 0; i < order.size(); i += 2) {
    std::exception_ptr failure;
    std::thread second;
    if (i + 1 < order.size()) {
      second = std::thread([&] {
        try {
          run_block(order[i + 1], 0);
        } catch (...) {
          failure = std::current_exception();
        }
      });
    }
    std::exception_ptr own;
    try {
      run_block(order[i], 0);
    } catch (...) {
      own = std::current_exception();
    }
    if (second.joinable()) second.join();
    if (own != nullptr || failure != nullptr) std::rethrow_exception(own != nullptr ? own : failure);
  }
}

}  // namespace cuda_host
