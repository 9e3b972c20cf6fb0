#include "gradient_cases.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "tables.h"

namespace styleclip::cases::gradients {
namespace {

using tables::Source;

/// [to, from]: bands of uneven length around the diagonal with zeros inside, a row of nothing but zeros.
std::vector<float> banded(Source& source, std::int64_t to, std::int64_t from) {
  std::vector<float> values = source.floats(to * from, 0.7F);
  for (std::int64_t row = 0; row < to; ++row) {
    const std::int64_t center = row * from / to;
    const std::int64_t first = std::max<std::int64_t>(0, center - row % 3);
    const std::int64_t end = row % 7 == 5 ? first : std::min(from, center + 1 + row % 4);
    for (std::int64_t i = 0; i < from; ++i) {
      if (i < first || i >= end || i == first + 1) values[static_cast<std::size_t>(row * from + i)] = 0;
    }
  }
  return values;
}

void zero_row(std::vector<float>& rows, std::int64_t row, std::int64_t width) {
  if (static_cast<std::int64_t>(rows.size()) < (row + 1) * width) return;
  std::fill(rows.begin() + row * width, rows.begin() + (row + 1) * width, 0.0F);
}

class Cases {
 public:
  explicit Cases(Op op) : op_(op) {}
  Case& add(std::int64_t n, std::int64_t channels, std::int64_t h, std::int64_t w, Type type) {
    Case which;
    which.op = op_;
    which.type = type;
    which.n = n;
    which.channels = channels;
    which.h = h;
    which.w = w;
    all.push_back(which);
    return all.back();
  }
  std::vector<Case> all;

 private:
  Op op_;
};

std::vector<Case> loss_cases(Table table) {
  Cases cases(Op::kEditLoss);
  const auto add = [&](std::int64_t n, std::int64_t dim, std::int64_t numbers, std::int64_t texts, bool each,
                       std::int64_t faces) -> Case& {
    Case& which = cases.add(n, dim, 1, numbers, Type::kFloat32);
    which.texts = texts;
    which.text_each = each;
    which.faces = faces;
    return which;
  };
  add(2, 5, 7, 3, false, 3);
  if (table == Table::kThreads) return cases.all;
  add(1, 1, 1, 1, false, 0);
  add(3, 300, 700, 1, false, 257).mean = true;
  add(3, 33, 40, 11, true, 0);
  add(2, 512, 9216, 2, true, 512);
  add(4, 64, 20, 9, false, 31).zeros = true;
  add(4, 64, 20, 9, true, 31).zeros = true;
  add(0, 8, 5, 2, false, 4);
  return cases.all;
}

std::vector<Case> resample_cases(Table table) {
  Cases cases(Op::kResample);
  const auto add = [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t to_h, std::int64_t to_w,
                       Type type) -> Case& {
    Case& which = cases.add(n, 3, h, w, type);
    which.to_h = to_h;
    which.to_w = to_w;
    return which;
  };
  for (const Type type : {Type::kFloat32, Type::kFloat16, Type::kBFloat16}) {
    add(1, 6, 5, 4, 7, type);
    if (table == Table::kThreads) continue;
    add(2, 17, 13, 9, 21, type).transposed = true;
    add(1, 1, 1, 1, 1, type);
    add(1, 40, 33, 14, 12, type);
  }
  if (table == Table::kThreads) return cases.all;
  add(0, 4, 4, 3, 3, Type::kFloat32);
  add(1, 4, 4, 0, 3, Type::kFloat32);
  add(1, 0, 4, 3, 3, Type::kFloat32);
  return cases.all;
}

}  // namespace

const char* name(Op op) {
  switch (op) {
    case Op::kResample: return "resample";
    case Op::kStyledActivate: return "styled_activate";
    case Op::kFilterStyledActivate: return "filter_styled_activate";
    case Op::kEditLoss: return "edit_loss";
  }
  return "";
}

std::string name(const Case& which) {
  std::ostringstream text;
  text << name(which.op) << " n " << which.n << ", " << which.channels << " channels, " << which.h << " x " << which.w;
  if (which.op == Op::kResample) {
    text << " to " << which.to_h << " x " << which.to_w << (which.transposed ? ", transposed" : "");
  }
  text << ", " << cases::name(which.type);
  if (which.op == Op::kEditLoss) {
    text << ", " << which.texts << (which.text_each ? " texts each" : " texts") << ", identity " << which.faces
         << (which.mean ? ", mean" : "") << (which.zeros ? ", zeros" : "");
  } else if (which.op != Op::kResample) {
    text << ", " << name(which.content) << (which.gain ? ", gain" : "") << ", noise " << static_cast<int>(which.noise)
         << (which.limited ? ", limited" : "") << (which.zeros ? ", zeros" : "");
  }
  return text.str();
}

std::vector<Case> all_cases(Op op, Table table) {
  if (op == Op::kEditLoss) return loss_cases(table);
  if (op == Op::kResample) return resample_cases(table);
  using Sizes = std::vector<std::int64_t>;
  Cases cases(op);
  const bool all = table == Table::kAll;
  for (const Type type : {Type::kFloat32, Type::kFloat16, Type::kBFloat16}) {
    if (table == Table::kThreads) {
      cases.add(1, 8, 3, 2, type);
      continue;
    }
    // Channels around every edge of the vectors and lanes; sizes with nothing even about them.
    for (const std::int64_t channels : all ? Sizes{1, 3, 5, 8, 16, 24, 33, 64, 72} : Sizes{1, 5, 8, 33}) {
      Case& which = cases.add(2, channels, 7, 5, type);
      which.noise = channels % 2 == 0 ? Noise::kEach : Noise::kShared;
      which.limited = channels % 3 == 0;
    }
    for (const std::int64_t r : all ? Sizes{1, 2, 3, 4, 9, 16, 31, 33, 66} : Sizes{1, 2, 3, 33}) {
      Case& which = cases.add(1, 8, r, r % 2 == 0 ? r : r + 3, type);
      which.limited = r % 2 == 0;
      which.gain = r % 4 != 0;
      if (r % 3 == 0) which.noise = Noise::kNone;
    }
    cases.add(2, 24, 5, 4, type).zeros = true;
    cases.add(1, 512, 4, 4, type).limited = true;
    cases.add(1, 264, 3, 2, type);  // more groups of channels than lanes
    cases.add(all ? 3 : 1, 32, 20, 24, type).limited = true;
    if (!all) continue;
    for (const Content content : {Content::kLarge, Content::kNaN, Content::kInfinity}) {
      for (const bool limited : {false, true}) {
        Case& which = cases.add(2, 16, 5, 6, type);
        which.content = content;
        which.limited = limited;
      }
    }
  }
  if (table == Table::kThreads) return cases.all;
  cases.add(1, 1100, 2, 2, Type::kFloat32).noise = Noise::kEach;  // more groups than a block has threads
  cases.add(0, 8, 4, 4, Type::kFloat32);
  cases.add(2, 8, 0, 4, Type::kFloat32);
  return cases.all;
}

Inputs make_inputs(const Case& which, std::uint64_t seed) {
  Source source(seed, which.type);
  Inputs inputs;
  const std::int64_t n = which.n, channels = which.channels, pixels = which.h * which.w;
  if (which.op == Op::kEditLoss) {
    inputs.embedding = source.floats(n * channels, 3.0F);
    inputs.text = source.floats((which.text_each ? n : 1) * which.texts * channels, 2.0F);
    inputs.latents = source.floats(n * pixels, 1.0F);
    inputs.source = source.floats(n * pixels, 1.0F);
    inputs.identity = source.floats(n * which.faces, 1.0F);
    inputs.source_identity = source.floats(n * which.faces, 1.0F);
    inputs.lambda_clip = 0.9;
    inputs.lambda_l2 = 0.008;
    inputs.lambda_id = which.faces > 0 ? 0.1 : 0;
    if (which.zeros) {
      zero_row(inputs.embedding, 1, channels);
      zero_row(inputs.text, 2, channels);
      if (which.faces > 0) zero_row(inputs.identity, 2, which.faces);
      if (which.faces > 0) zero_row(inputs.source_identity, 3, which.faces);
    }
    return inputs;
  }
  if (which.op == Op::kResample) {
    inputs.x = source.typed(n * channels * pixels, 1.0F);
    inputs.vertical = banded(source, which.to_h, which.h);
    inputs.horizontal = banded(source, which.to_w, which.w);
    inputs.gradient = source.typed(n * channels * which.to_h * which.to_w, 1.0F);
    return inputs;
  }
  const std::int64_t more = which.op == Op::kFilterStyledActivate ? 1 : 0;
  const float scale = which.content == Content::kLarge ? 30000.0F : 3.0F;
  inputs.limit = which.limited ? 2 : std::numeric_limits<double>::infinity();
  inputs.x = source.typed(n * (which.h + more) * (which.w + more) * channels, scale);
  if (more > 0) inputs.filter = {0.25F, 0.7F, 0.8F, 0.3F};  // not symmetric: a flipped one is another
  if (which.gain) inputs.gain = source.floats(n * channels, 0.5F, 1.0F);
  if (which.zeros) inputs.gain[inputs.gain.size() / 2 + 1] = 0;
  inputs.bias = source.floats(channels, 0.5F);
  if (which.noise == Noise::kShared) inputs.noise = source.floats(pixels, 0.5F);
  if (which.noise == Noise::kEach) inputs.noise = source.floats(n * pixels, 0.5F);
  inputs.gradient = source.typed(n * pixels * channels, 1.0F);
  if (!inputs.x.empty()) {
    float& victim = inputs.x[inputs.x.size() / 2];
    if (which.content == Content::kNaN) victim = std::numeric_limits<float>::quiet_NaN();
    if (which.content == Content::kInfinity) victim = std::numeric_limits<float>::infinity();
  }
  return inputs;
}

}  // namespace styleclip::cases::gradients
