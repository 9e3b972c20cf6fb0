// Files of the field, written by torch, pickle, NumPy and safetensors themselves (tools/fixtures): each reads as
// expected.json says it should, value by value and byte by byte, or is refused in the words that it says.
#include <filesystem>
#include <unordered_map>

#include "checkpoint_fixture.h"
#include "runtime/sha256.h"

using namespace checkpoint_fixture;
using nlohmann::json;
using Kind = Value::Kind;

namespace {

std::string hexadecimal(const void* data, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) {
    const unsigned char byte = static_cast<const unsigned char*>(data)[i];
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

void compare(const Value& got, const json& wanted, const std::string& at);

void compare_all(const std::vector<Value>& got, const json& wanted, const std::string& at) {
  REQUIRE_MESSAGE(got.size() == wanted.size(), at);
  for (std::size_t i = 0; i < got.size(); ++i) compare(got[i], wanted[i], at + "[" + std::to_string(i) + "]");
}

void compare_entries(const std::vector<std::pair<Value, Value>>& got, const json& wanted, const std::string& at) {
  REQUIRE_MESSAGE(got.size() == wanted.size(), at);
  for (std::size_t i = 0; i < got.size(); ++i) {
    compare(got[i].first, wanted[i][0], at + " key " + std::to_string(i));
    compare(got[i].second, wanted[i][1], at + "." + wanted[i][0].dump());
  }
}

void compare_tensor(const at::Tensor& got, const json& wanted, const std::string& at) {
  CHECK_MESSAGE(std::string(c10::toString(got.scalar_type())) == wanted[0].get<std::string>(), at);
  CHECK_MESSAGE(got.sizes().vec() == wanted[1].get<std::vector<std::int64_t>>(), at);
  if (got.numel() > 0) CHECK_MESSAGE(got.strides().vec() == wanted[2].get<std::vector<std::int64_t>>(), at);
  const at::Tensor dense = got.contiguous();
  CHECK_MESSAGE(hexadecimal(dense.const_data_ptr(), dense.nbytes()) == wanted[3].get<std::string>(), at);
}

void compare(const Value& got, const json& wanted, const std::string& at) {
  INFO(at);
  if (wanted.is_null()) {
    CHECK(got.is(Kind::None));
    return;
  }
  if (!wanted.is_object()) {
    REQUIRE(got.is(wanted.is_string() ? Kind::String : wanted.is_boolean() ? Kind::Bool : Kind::Int));
    CHECK((wanted.is_string()    ? json(got.text())
           : wanted.is_boolean() ? json(got.boolean())
                                 : json(got.integer())) == wanted);
    return;
  }
  const std::string& kind = wanted.begin().key();
  const json& content = wanted.begin().value();
  if (kind == "float") {
    REQUIRE(got.is(Kind::Float));
    CHECK(got.number() == std::strtod(content.get<std::string>().c_str(), nullptr));
  } else if (kind == "bytes") {
    REQUIRE(got.is(Kind::Bytes));
    CHECK(hexadecimal(got.text().data(), got.text().size()) == content.get<std::string>());
  } else if (kind == "tensor") {
    REQUIRE(got.is(Kind::Tensor));
    compare_tensor(got.tensor(), content, at);
  } else if (kind == "dict") {
    REQUIRE(got.is(Kind::Dict));
    compare_entries(got.entries(), content, at);
  } else if (kind == "object") {
    REQUIRE(got.is(Kind::Object));
    CHECK(got.class_name() == content[0].get<std::string>());
    compare(got.arguments(), content[1], at + " arguments");
    compare(got.state(), content[2], at + " state");
    compare_all(got.items(), content[3], at + " items");
    compare_entries(got.entries(), content[4], at + " entries");
  } else {
    const std::unordered_map<std::string, Kind> kinds = {
        {"list", Kind::List}, {"tuple", Kind::Tuple}, {"set", Kind::Set}};
    REQUIRE(got.is(kinds.at(kind)));
    compare_all(got.items(), content, at);
  }
}

}  // namespace

TEST_CASE("every file reads as its writer meant it, or is refused in the right words") {
  int read_count = 0, refused_count = 0;
  for (const auto& [name, wanted] : expected().items()) {
    INFO(name);
    if (wanted.contains("code")) {
      const Error error = error_of([&] { read(folder() + name); });
      CHECK(error.code() == (wanted["code"] == "FormatUnknown" ? ErrorCode::FormatUnknown : ErrorCode::FileDamaged));
      CHECK_MESSAGE(says(error, wanted["words"].get<std::string>()), std::string(error.what()));
      ++refused_count;
      continue;
    }
    try {
      const Checkpoint file = read(folder() + name);
      CHECK(std::string(container_name(file.container())) == wanted["container"].get<std::string>());
      CHECK(file.metadata() == wanted["metadata"].get<std::map<std::string, std::string>>());
      CHECK(file.sha256() == styleclip::sha256_of_file(folder() + name));
      CHECK(file.bytes() == static_cast<std::int64_t>(std::filesystem::file_size(folder() + name)));
      compare(file.root(), wanted["tree"], name);
      ++read_count;
    } catch (const Error& error) {
      FAIL_CHECK(std::string(error.what()));
    }
  }
  CHECK(read_count >= 47);
  CHECK(refused_count >= 19);
}
