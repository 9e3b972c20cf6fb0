#include "sweep_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "tables.h"

namespace styleclip::cases::sweep {
namespace {

using tables::Source;

/// Keys' cubic with a = -0.5, as Pillow has it.
double cubic(double x) {
  x = std::fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

std::vector<float> bicubic(std::int64_t size, std::int64_t r) {
  std::vector<float> matrix(static_cast<std::size_t>(size * r));
  const double scale = static_cast<double>(r) / static_cast<double>(size);
  const double stretch = std::max(scale, 1.0);
  for (std::int64_t i = 0; i < size; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    std::vector<double> row(static_cast<std::size_t>(r));
    double sum = 0;
    for (std::int64_t j = 0; j < r; ++j) {
      row[static_cast<std::size_t>(j)] = cubic((static_cast<double>(j) + 0.5 - center) / stretch);
      sum += row[static_cast<std::size_t>(j)];
    }
    for (std::int64_t j = 0; j < r; ++j) {
      matrix[static_cast<std::size_t>(i * r + j)] = static_cast<float>(row[static_cast<std::size_t>(j)] / sum);
    }
  }
  return matrix;
}

const char* name(Resample resample) {
  switch (resample) {
    case Resample::kIdentity: return "identity";
    case Resample::kBicubic: return "bicubic";
    case Resample::kRagged: return "ragged";
  }
  return "";
}

}  // namespace

const char* name(Op op) {
  switch (op) {
    case Op::kPerturbChannels: return "perturb_channels";
    case Op::kActivate: return "activate";
    case Op::kFilterActivate: return "filter_activate";
    case Op::kAddToCanvas: return "add_to_canvas";
    case Op::kActivateToCanvas: return "activate_to_canvas";
    case Op::kConvolveToCanvas: return "convolve_to_canvas";
    case Op::kClipInput: return "clip_input";
  }
  return "";
}

std::string name(const Case& which) {
  std::ostringstream text;
  text << name(which.op) << " n " << which.n << ", ";
  if (which.inputs > 0) text << which.inputs << " to ";
  text << which.channels << " channels, r " << which.r << ", " << cases::name(which.type) << ", " << name(which.content)
       << (which.noise ? ", noise" : "") << (which.limited ? ", limited" : "");
  if (which.size > 0) text << ", " << name(which.resample) << " to " << which.size;
  if (may_keep(which.op)) text << (which.keep ? ", kept" : ", not kept");
  if (which.patch > 0) text << ", patches of " << which.patch;
  return text.str();
}

std::int64_t canvas_side(const Case& which) { return which.size > 0 ? which.size : which.r; }

std::int64_t y_size(const Case& which) {
  if (which.op == Op::kClipInput) return which.n * 3 * which.r * which.r;
  return (which.op == Op::kPerturbChannels ? 2 : 1) * which.n * which.r * which.r * which.channels;
}

namespace {

/// Of convolve_to_canvas, whose kernel has tiles of 16 rows and of 32 columns, of 16 where there are more than 32 outputs.
std::vector<Case> convolutions(Table table) {
  std::vector<Case> cases;
  const auto add = [&](std::int64_t n, std::int64_t inputs, std::int64_t outputs, std::int64_t r, Type type) -> Case& {
    Case which;
    which.op = Op::kConvolveToCanvas;
    which.n = n;
    which.inputs = inputs;
    which.channels = outputs;
    which.r = r;
    which.type = type;
    which.noise = cases.size() % 3 != 0;
    which.limited = cases.size() % 2 == 0;
    which.keep = cases.size() % 4 != 1;
    cases.push_back(which);
    return cases.back();
  };
  const auto resampled = [](Case& which, std::int64_t size, Resample resample = Resample::kBicubic) -> Case& {
    which.resample = resample;
    which.size = size;
    return which;
  };
  if (table == Table::kThreads) {
    resampled(add(1, 32, 16, 3, Type::kBFloat16), 2).noise = true;
    return cases;
  }
  const bool all = table == Table::kAll;
  for (const Type type : {Type::kFloat16, Type::kBFloat16}) {
    for (const std::int64_t channels : {16, 32, 48, 64}) resampled(add(1, channels, channels, 7, type), 9);
    resampled(add(2, 16, 32, 34, type), 11);                     // every edge of a tile, and of a strip
    resampled(add(1, 16, 64, 17, type), 20);                     // the same of narrow tiles
    resampled(add(1, 16, 16, 70, type), 3).keep = true;          // bands longer than a tile
    resampled(add(2, 16, 16, 13, type), 10, Resample::kRagged);  // bands of nothing among them
    add(1, 32, 48, 18, type);                                    // no matrix
    if (!all) continue;
    for (const std::int64_t r : {1, 2, 15, 16, 31, 32, 33}) {
      Case& which = add(1, 16, 16, r, type);
      if (r > 1) resampled(which, r % 2 == 0 ? 14 : 40);
    }
    resampled(add(1, 64, 16, 5, type), 4);
    resampled(add(1, 48, 64, 20, type), 40, Resample::kRagged);
    for (const Content content : {Content::kLarge, Content::kNaN, Content::kInfinity}) {
      for (const bool limited : {false, true}) {
        Case& which = add(1, 16, 32, 9, type);
        which.content = content;
        which.limited = limited;
        // As below, an infinite color has no matrix.
        if (limited || content == Content::kNaN) resampled(which, 6);
      }
    }
  }
  add(0, 16, 16, 4, Type::kFloat16);
  return cases;
}

}  // namespace

std::vector<Case> all_cases(Op op, Table table) {
  if (op == Op::kConvolveToCanvas) return convolutions(table);
  using Sizes = std::vector<std::int64_t>;
  const Type types[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
  const bool to_canvas = sweep::to_canvas(op);
  std::vector<Case> cases;
  const auto add = [&](std::int64_t n, std::int64_t channels, std::int64_t r, Type type) -> Case& {
    Case which;
    which.op = op;
    which.n = n;
    which.channels = op == Op::kClipInput ? 3 : channels;
    which.r = r;
    which.type = type;
    cases.push_back(which);
    return cases.back();
  };
  const auto resampled = [](Case& which, Resample resample, std::int64_t size) -> Case& {
    which.resample = resample;
    which.size = size;
    return which;
  };
  if (table == Table::kThreads) {
    for (const Type type : types) {
      Case& which = add(1, 8, 3, type);
      if (to_canvas) resampled(which, Resample::kBicubic, 2);
    }
    Case& which = add(2, 3, to_canvas ? 2 : 4, Type::kFloat32);
    if (op == Op::kClipInput) which.patch = 2;
    if (to_canvas) which.keep = false;
    if (to_canvas) add(1, 264, 1, Type::kFloat16);  // more groups of channels than lanes
    return cases;
  }
  const bool all = table == Table::kAll;
  if (op == Op::kClipInput) {
    for (const Type type : types) {
      add(2, 3, 16, type).patch = 4;
      add(1, 3, 21, type).patch = 7;
      add(3, 3, 13, type);
      add(1, 3, 40, type).patch = 40;
    }
    add(1, 3, 224, Type::kFloat16).patch = 32;
    add(1, 3, 30, Type::kFloat32).patch = 1;
    add(1, 3, 70, Type::kBFloat16).patch = 5;   // three rows at once: their steps go over patches' edges
    add(1, 3, 264, Type::kFloat16).patch = 88;  // more columns than a block has threads, whose step does so too
    add(1, 3, 260, Type::kFloat32).patch = 1;
    add(2, 3, 16, Type::kFloat32).content = Content::kNaN;
    add(2, 3, 16, Type::kFloat16).content = Content::kInfinity;
    add(0, 3, 16, Type::kFloat32);
    return cases;
  }
  for (const Type type : types) {
    // Channels around every edge of the vectors and lanes; sizes with nothing even about them.
    for (const std::int64_t channels : all ? Sizes{1, 3, 5, 8, 16, 24, 33, 48, 64, 72} : Sizes{1, 5, 8, 24, 33, 72}) {
      Case& which = add(2, channels, 7, type);
      if (to_canvas && channels % 2 == 1) resampled(which, Resample::kBicubic, 9);
    }
    for (const std::int64_t r : all ? Sizes{1, 2, 3, 4, 5, 9, 16, 31, 33, 66} : Sizes{1, 2, 3, 5, 16, 33}) {
      Case& which = add(1, 8, r, type);
      which.limited = r % 2 == 0;
      which.noise = r % 3 != 0;
      if (to_canvas && r > 1) resampled(which, Resample::kBicubic, r % 2 == 0 ? 14 : 40);
    }
    {
      Case& which = add(1, 512, 4, type);
      if (to_canvas) resampled(which, Resample::kBicubic, 17);
    }
    {
      Case& which = add(1, 264, 3, type);  // more groups of channels than lanes; of float32 more than 32 lanes
      if (to_canvas) which.keep = false;
    }
    {
      Case& which = add(all ? 3 : 1, 32, 40, type);
      which.limited = true;
      if (to_canvas) {
        resampled(which, Resample::kBicubic, 11);
        which.keep = false;
      }
    }
    if (to_canvas) {
      resampled(add(2, 3, 13, type), Resample::kRagged, 10);
      resampled(add(2, 8, 4, type), Resample::kRagged, 33);
    }
    for (const Content content : {Content::kLarge, Content::kNaN, Content::kInfinity}) {
      for (const bool limited : {false, true}) {
        Case& which = add(2, 16, 9, type);
        which.content = content;
        which.limited = limited;
        // An infinite color times the zeros between a band's numbers would be NaN in some implementations only.
        if (to_canvas && (limited || content == Content::kNaN)) resampled(which, Resample::kBicubic, 6);
        Case odd = which;
        odd.channels = 5;
        odd.r = 6;
        if (!all) cases.pop_back();  // what the numbers are is no matter of bounds
        if (all || limited) cases.push_back(odd);
      }
    }
  }
  if (op == Op::kActivate) add(1, 1100, 2, Type::kFloat32);  // more groups than a block has threads
  if (op == Op::kActivateToCanvas || (to_canvas && all)) {
    resampled(add(1, 1, 1030, Type::kFloat16), Resample::kBicubic, 9);  // more than one segment of a row
  }
  add(0, 8, 4, Type::kFloat32);
  return cases;
}

Inputs make_inputs(const Case& which, std::uint64_t seed) {
  Source source(seed, which.type);
  Inputs inputs;
  const std::int64_t n = which.n, channels = which.channels, pixels = which.r * which.r;
  const float scale = which.content == Content::kLarge ? 3000.0F : 3.0F;
  inputs.limit = which.limited ? 2 : std::numeric_limits<double>::infinity();
  inputs.rgb_limit = which.limited ? 1.5 : std::numeric_limits<double>::infinity();
  std::vector<float>* spoilt = nullptr;
  if (which.op == Op::kClipInput) {
    inputs.canvas = source.floats(n * 3 * pixels, 1.2F);
    inputs.mean = {0.48145466F, 0.4578275F, 0.40821073F};
    inputs.deviation = {0.26862954F, 0.26130258F, 0.27577711F};
    spoilt = &inputs.canvas;
  } else {
    if (which.op == Op::kPerturbChannels) {
      inputs.planes = source.floats(n * (which.r + 2) * (which.r + 2), scale);
      inputs.taps = source.floats(n * 9 * channels, 0.3F);
      inputs.linear = source.floats(pixels * channels, scale);
      inputs.steps = source.floats(2 * n, 2.0F);
      inputs.gains = source.floats(2 * n * channels, 0.5F, 1.0F);
      spoilt = &inputs.planes;
    } else if (which.op == Op::kFilterActivate) {
      inputs.t = source.typed(n * (which.r + 1) * (which.r + 1) * channels, scale);
      inputs.filter = {0.25F, 0.7F, 0.8F, 0.3F};  // not symmetric: a flipped one is another
      spoilt = &inputs.t;
    } else if (which.op == Op::kConvolveToCanvas) {
      inputs.x = source.typed(n * pixels * which.inputs, scale);
      inputs.kernel = source.typed(channels * 9 * which.inputs, 0.5F / std::sqrt(static_cast<float>(which.inputs)));
      spoilt = &inputs.x;
    } else {
      inputs.y = source.typed(n * pixels * channels, scale);
      spoilt = &inputs.y;
    }
    if (which.op != Op::kAddToCanvas) {
      inputs.bias = source.floats(channels, 0.5F);
      if (which.noise) inputs.noise = source.floats(pixels, 0.5F);
    }
    if (to_canvas(which.op)) {
      const std::int64_t size = canvas_side(which);
      inputs.weight = source.floats(3 * channels, 0.4F, 0.01F);
      inputs.rgb_bias = source.floats(3, 0.5F);
      inputs.canvas = source.floats(n * 3 * size * size, 1.0F);
      if (which.size > 0 && which.resample == Resample::kBicubic) inputs.matrix = bicubic(size, which.r);
      if (which.size > 0 && which.resample == Resample::kRagged) {
        inputs.matrix = source.floats(size * which.r, 0.7F);
        for (std::int64_t i = 0; i < size; ++i) {
          const auto first = static_cast<std::int64_t>(source.below(static_cast<std::size_t>(which.r)));
          const std::int64_t end = i % 4 == 3 ? first : std::min(which.r, first + 1 + i % 5);
          for (std::int64_t j = 0; j < which.r; ++j) {
            const bool inside = j >= first && j < end && j != first + 1;
            if (!inside) inputs.matrix[static_cast<std::size_t>(i * which.r + j)] = 0;
          }
        }
      }
    }
  }
  if (!spoilt->empty()) {
    float& victim = (*spoilt)[spoilt->size() / 2];
    if (which.content == Content::kNaN) victim = std::numeric_limits<float>::quiet_NaN();
    if (which.content == Content::kInfinity) victim = std::numeric_limits<float>::infinity();
  }
  return inputs;
}

}  // namespace styleclip::cases::sweep
