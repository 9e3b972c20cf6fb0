// StyleSpace's layout against the counts that are known of config-f (StyleCLIP's train_utils.py, styleclip.md A.0).
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/style_layout.h"

namespace {

using refusals::code_of;
using styleclip::ErrorCode;
using styleclip::StyleLayout;

StyleLayout config_f() { return StyleLayout::stylegan2(1024, {512, 512, 512, 512, 512, 256, 128, 64, 32}); }
StyleLayout tiny() { return StyleLayout::stylegan2(16, {5, 4, 3}); }

TEST_CASE("config-f at 1024 has the field's 26 layers, 6048 + 3040 channels and 18 rows") {
  const StyleLayout layout = config_f();
  REQUIRE(layout.layers.size() == 26);
  CHECK(layout.conv_channels() == 6048);
  CHECK(layout.torgb_channels() == 3040);
  CHECK(layout.total() == 9088);
  CHECK(layout.rows == 18);

  std::vector<std::int64_t> expected(15, 512);
  for (const std::int64_t width : {256, 128, 64}) expected.insert(expected.end(), 3, width);
  expected.insert(expected.end(), 2, 32);
  for (std::size_t i = 0; i < 26; ++i) {
    CHECK(layout.layers[i].channels == expected[i]);
    CHECK(layout.layers[i].to_rgb == (i % 3 == 1));
  }
  CHECK(layout.layers.front().name == "b4.conv1");
  CHECK(layout.layers[23].name == "b1024.conv0");
  CHECK(layout.layers.back().name == "b1024.torgb");
}

TEST_CASE("published totals at other sizes") {
  CHECK(StyleLayout::stylegan2(256, {512, 512, 512, 512, 512, 256, 128}).conv_channels() == 5760);
  CHECK(StyleLayout::stylegan2(256, {512, 512, 512, 512, 256, 128, 64}).total() == 7424);
  CHECK(StyleLayout::stylegan2(512, {512, 512, 512, 512, 256, 128, 64, 32}).conv_channels() == 5024);
}

TEST_CASE("rows of w_plus: conv1@4 from 0, toRGB from the row of the next block's conv0") {
  const StyleLayout layout = tiny();
  std::vector<std::int64_t> rows;
  for (const auto& layer : layout.layers) rows.push_back(layer.w_row);
  CHECK(rows == std::vector<std::int64_t>{0, 1, 1, 2, 3, 3, 4, 5});
  CHECK(layout.rows == 6);
  CHECK(StyleLayout::stylegan2(4, {7}).rows == 2);
}

TEST_CASE("offsets partition the flat vector, and layer_of finds its way back") {
  const StyleLayout layout = tiny();
  std::int64_t channel = 0;
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    CHECK(layout.layers[i].offset == channel);
    for (std::int64_t c = 0; c < layout.layers[i].channels; ++c) CHECK(layout.layer_of(channel++) == i);
  }
  CHECK(channel == layout.total());
  CHECK(code_of([&] { (void)layout.layer_of(channel); }) == ErrorCode::Range);
  CHECK(code_of([&] { (void)layout.layer_of(-1); }) == ErrorCode::Range);
}

TEST_CASE("select: sets, names, synthesis order whatever the order asked in, no channel twice") {
  const StyleLayout layout = tiny();
  CHECK(static_cast<std::int64_t>(layout.select({"conv"}).size()) == layout.conv_channels());
  CHECK(static_cast<std::int64_t>(layout.select({"torgb"}).size()) == layout.torgb_channels());
  const auto all = layout.select({"all"});
  REQUIRE(static_cast<std::int64_t>(all.size()) == layout.total());
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == static_cast<std::int64_t>(i));
  CHECK(layout.select({"conv", "torgb"}) == all);

  // b8.conv0 has the 5 channels of 4 pixels, after conv1 and toRGB there.
  CHECK(layout.select({"b8.conv0"}) == std::vector<std::int64_t>{10, 11, 12, 13, 14});
  CHECK(layout.select({"b8.conv0", "b4.torgb", "b8.conv0"}) ==
        std::vector<std::int64_t>{5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  CHECK(layout.select({"conv", "b4.conv1"}) == layout.select({"conv"}));
  CHECK(code_of([&] { (void)layout.select({"conv", "b32.conv0"}); }) == ErrorCode::Argument);
  CHECK(code_of([&] { (void)layout.select({}); }) == ErrorCode::Argument);
}

TEST_CASE("flatten and unflatten are each other's inverse, and unflatten copies nothing") {
  const StyleLayout layout = tiny();
  const at::Tensor s = at::arange(2 * layout.total(), at::kFloat).view({2, layout.total()});
  const auto styles = layout.unflatten(s);
  REQUIRE(styles.size() == layout.layers.size());
  CHECK(styles[3].size(1) == layout.layers[3].channels);
  CHECK(styles[3].const_data_ptr<float>() == s.const_data_ptr<float>() + layout.layers[3].offset);
  CHECK(at::equal(layout.flatten(styles), s));

  CHECK(code_of([&] { (void)layout.unflatten(s.narrow(1, 0, 3)); }) == ErrorCode::Shape);
  CHECK(code_of([&] { (void)layout.unflatten(s.view(-1)); }) == ErrorCode::Shape);
  auto wrong = styles;
  wrong[2] = at::zeros({2, 1});
  CHECK(code_of([&] { (void)layout.flatten(wrong); }) == ErrorCode::Shape);
  wrong[2] = at::zeros({3, layout.layers[2].channels});
  CHECK(code_of([&] { (void)layout.flatten(wrong); }) == ErrorCode::Shape);
  wrong.pop_back();
  CHECK(code_of([&] { (void)layout.flatten(wrong); }) == ErrorCode::Shape);
}

TEST_CASE("sizes and widths that no StyleGAN2 has") {
  CHECK(code_of([] { (void)StyleLayout::stylegan2(48, {8, 8, 8, 8}); }) == ErrorCode::Range);
  CHECK(code_of([] { (void)StyleLayout::stylegan2(2, {}); }) == ErrorCode::Range);
  CHECK(code_of([] { (void)StyleLayout::stylegan2(16, {8, 8}); }) == ErrorCode::Shape);
  CHECK(code_of([] { (void)StyleLayout::stylegan2(16, {8, 0, 8}); }) == ErrorCode::Range);
}

}  // namespace
