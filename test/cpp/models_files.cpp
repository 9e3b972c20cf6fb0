// Files and pixels: .safetensors with every kind of damage, pictures to bytes and back, CLIP's preprocessing.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "models/preprocess.h"
#include "models_fixture.h"

using namespace fixture;
using styleclip::ErrorCode;

namespace {

std::string safetensors(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

ErrorCode read_code(const std::string& bytes) {
  const TemporaryFile file(bytes);
  return error_of([&] { styleclip::read_safetensors(file.path()); }).code();
}

// Keys' cubic with a = -0.5, widened by the reduction factor: one output row of an antialiased resize.
std::vector<double> bicubic_row(std::int64_t in, std::int64_t out, std::int64_t o) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), widen = std::max(scale, 1.0);
  std::vector<double> weights(static_cast<std::size_t>(in));
  double sum = 0;
  for (std::int64_t i = 0; i < in; ++i) {
    const double x = std::abs((static_cast<double>(i) + 0.5 - (static_cast<double>(o) + 0.5) * scale) / widen);
    weights[i] = x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
    sum += weights[i];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

at::Tensor resize_matrix(std::int64_t in, std::int64_t out) {
  at::Tensor matrix = at::zeros({out, in}, at::kDouble);
  for (std::int64_t o = 0; o < out; ++o) {
    const std::vector<double> row = bicubic_row(in, out, o);
    for (std::int64_t i = 0; i < in; ++i) matrix[o][i] = row[i];
  }
  return matrix;
}

const std::vector<double> kMean = {0.48, 0.45, 0.4}, kStd = {0.27, 0.26, 0.28};

at::Tensor normalised(const at::Tensor& unit) {
  return (unit - at::tensor(kMean).view({1, 3, 1, 1})) / at::tensor(kStd).view({1, 3, 1, 1});
}

}  // namespace

TEST_CASE("safetensors: names, types and values") {
  const float values[] = {1.5F, -2.0F};
  const std::int64_t number = 7;
  std::string data(reinterpret_cast<const char*>(values), 8);
  data += std::string(reinterpret_cast<const char*>(&number), 8) + std::string("\x00\x3c\x80\x3f\xff", 5);
  const TemporaryFile file(safetensors(
      R"({"__metadata__":{"a":"b"},"f":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("i":{"dtype":"I64","shape":[],"data_offsets":[8,16]},"h":{"dtype":"F16","shape":[1],"data_offsets":[16,18]},)"
      R"("b":{"dtype":"BF16","shape":[1],"data_offsets":[18,20]},"u":{"dtype":"U8","shape":[1],"data_offsets":[20,21]},)"
      R"("empty":{"dtype":"F32","shape":[0,3],"data_offsets":[21,21]}})",
      data));
  const Weights read = styleclip::read_safetensors(file.path());
  CHECK(read.size() == 6);
  CHECK(at::equal(read.at("f"), at::tensor({1.5F, -2.0F}).view({2, 1})));
  CHECK(read.at("i").item<std::int64_t>() == 7);
  CHECK(read.at("h").item<float>() == 1);
  CHECK(read.at("b").item<float>() == 1);
  CHECK(read.at("u").item<int>() == 255);
  CHECK(read.at("empty").sizes() == at::IntArrayRef({0, 3}));
}

TEST_CASE("safetensors: every damage is found before memory is touched") {
  const auto one = [](const std::string& fields, const std::string& data = "12345678") {
    return read_code(safetensors("{\"t\":{" + fields + "}}", data));
  };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const TemporaryFile sound(safetensors("{\"t\":{" + good + "}}", "12345678"));
  CHECK_NOTHROW(styleclip::read_safetensors(sound.path()));
  CHECK(one(good, "1234567") == ErrorCode::FileDamaged);
  CHECK(one(good, "123456789") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F99","shape":[2],"data_offsets":[0,8])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])") == ErrorCode::FileDamaged);
  CHECK(one(R"("dtype":"F32","shape":"2","data_offsets":[0,8])") == ErrorCode::FileDamaged);
  CHECK(read_code(safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                              R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                              "123456")) == ErrorCode::FileDamaged);
  CHECK(read_code(safetensors("[]", "")) == ErrorCode::FileDamaged);
  CHECK(read_code(safetensors("{", "")) == ErrorCode::FileDamaged);
  CHECK(read_code("1234567") == ErrorCode::FileDamaged);
  CHECK(read_code(std::string(8, '\xff') + "{}") == ErrorCode::FileDamaged);
  CHECK(error_of([] { styleclip::read_safetensors("/nowhere"); }).code() == ErrorCode::FileNotFound);
}

TEST_CASE("pictures to bytes: scaled, clamped, truncated; and back") {
  const at::Tensor values = at::tensor({-2.0F, -1.0F, -0.999F, 0.0F, 0.5F, 0.9999F, 1.0F, 3.0F});
  const at::Tensor bytes = styleclip::to_uint8_nhwc(values.view({1, 1, 1, 8}).expand({1, 3, 1, 8}));
  CHECK(bytes.sizes() == at::IntArrayRef({1, 1, 8, 3}));
  const int wanted[] = {0, 0, 0, 128, 191, 255, 255, 255};  // trunc(127.5 x + 128) in 0..255
  for (int i = 0; i < 8; ++i) CHECK(bytes[0][0][i][1].item<int>() == wanted[i]);
  const at::Tensor all = at::arange(256, at::kByte).view({1, 1, 256, 1}).expand({1, 1, 256, 3});
  CHECK(at::equal(styleclip::to_uint8_nhwc(styleclip::from_uint8_nhwc(all)), all));
  CHECK(error_of([] { styleclip::to_uint8_nhwc(at::ones({1, 4, 2, 2})); }).code() == ErrorCode::Shape);
  CHECK(error_of([] { styleclip::from_uint8_nhwc(at::ones({1, 2, 2, 3})); }).code() == ErrorCode::Shape);
}

TEST_CASE("float preprocessing: antialiased bicubic from its formula, then mean and deviation") {
  at::manual_seed(5);
  const at::Tensor images = at::rand({2, 3, 40, 40}) * 3 - 1.5;  // beyond [-1, 1]: nothing is clamped
  const at::Tensor unit = images.to(at::kDouble) / 2 + 0.5, m = resize_matrix(40, 16);
  const at::Tensor got = styleclip::preprocess_float(images, 16, kMean, kStd);
  CHECK(distance(got, normalised(at::matmul(at::matmul(m, unit), m.t()))) < 1e-5);
  // At the right size the picture is only normalised.
  CHECK(distance(styleclip::preprocess_float(images, 40, kMean, kStd), normalised(unit)) < 1e-6);
  // A tall picture: the shorter side to 16, the middle of the longer one.
  const at::Tensor tall = at::rand({1, 3, 61, 40}), tall_unit = tall.to(at::kDouble) / 2 + 0.5;
  const at::Tensor resized = at::matmul(at::matmul(resize_matrix(61, 24), tall_unit), m.t());
  CHECK(distance(styleclip::preprocess_float(tall, 16, kMean, kStd), normalised(resized.narrow(2, 4, 16))) < 1e-5);
}

TEST_CASE("reference preprocessing: bytes, Pillow, bytes") {
  at::manual_seed(6);
  const at::Tensor images = at::rand({2, 3, 40, 40}) * 2 - 1;
  const at::Tensor bytes = styleclip::pillow_bicubic(styleclip::to_uint8_nhwc(images), 16, 16);
  const at::Tensor got = styleclip::preprocess_reference8(images, 16, kMean, kStd);
  CHECK(distance(got, normalised(bytes.permute({0, 3, 1, 2}).to(at::kDouble) / 255)) < 1e-6);
  // Against the float way: three roundings of at most half a level (one of a whole level) apart.
  const at::Tensor apart = (got - styleclip::preprocess_float(images, 16, kMean, kStd)).abs() * 0.28 * 255;
  CHECK(apart.max().item<double>() < 4);
  CHECK(apart.max().item<double>() > 0.1);
}

TEST_CASE("reference preprocessing: a broken picture stays broken, and alone") {
  at::manual_seed(7);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor images = at::rand({3, 3, 40, 40}) * 2 - 1;
    const at::Tensor whole = styleclip::preprocess_reference8(images, 16, kMean, kStd);
    images[1][2][7][9] = bad;
    const at::Tensor got = styleclip::preprocess_reference8(images, 16, kMean, kStd);
    CHECK(at::isnan(got[1]).all().item<bool>());
    CHECK(at::equal(got[0], whole[0]));
    CHECK(at::equal(got[2], whole[2]));
  }
}

TEST_CASE("identity input: the face crop of id_loss, from whole pictures") {
  std::string config = kIdentity;
  config.replace(config.find("\"resize\""), 8, "\"face-crop\"");
  const Weights weights = weights_of(read("ir-se"));
  const TemporaryFile crop_file(tiny::archive("ir-se", config.c_str(), &weights)),
      plain_file(tiny::archive("ir-se", kIdentity, &weights));
  const auto crop = styleclip::Identity::load(crop_file.path(), cpu()),
             plain = styleclip::Identity::load(plain_file.path(), cpu());
  const at::Tensor images = at::randn({1, 3, 512, 512});
  const at::Tensor face = at::avg_pool2d(images, 2).slice(2, 35, 223).slice(3, 32, 220);
  CHECK(distance(crop->embed(images), plain->embed(face)) < 1e-6);
}
