// What the tests of the importers share: committed checkpoints (tools/fixtures/make_import_fixtures.py), the way from one
// to a loaded model, and the numbers that an independent evaluation expects.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "importing/importer.h"
#include "models_fixture.h"
#include "styleclip/error.h"

namespace import_fixture {

using fixture::distance;
using fixture::TemporaryFile;
using fixture::Weights;
using styleclip::checkpoint::Checkpoint;
using styleclip::importing::Imported;
using styleclip::importing::Importer;

/// What is promised of every format, relative to the largest value.
constexpr double kParity = 1e-4;

inline std::string path_of(const std::string& file) { return fixture::path_of("../import/" + file); }

inline Weights expected(const std::string& name) {
  return styleclip::read_safetensors(path_of("expected/" + name + ".safetensors"));
}

inline Checkpoint read(const std::string& file) { return Checkpoint::read(path_of(file), {}); }

/// Imports by the first of `importers`, which must recognise the file.
inline Imported import(const std::vector<Importer>& importers, const Checkpoint& file) {
  REQUIRE_FALSE(importers.empty());
  REQUIRE(importers[0].recognises(file));
  const Imported imported = importers[0].import(file, {});
  CHECK(imported.format == importers[0].format);
  return imported;
}

inline Imported import(const std::vector<Importer>& importers, const std::string& file) {
  return import(importers, read(file));
}

/// The error of an import that must fail, though the file is recognised.
inline styleclip::Error refusal(const std::vector<Importer>& importers, const std::string& file) {
  const Checkpoint checkpoint = read(file);
  REQUIRE(importers.at(0).recognises(checkpoint));
  return fixture::error_of([&] { importers[0].import(checkpoint, {}); });
}

inline std::string archive(const Imported& imported) {
  return tiny::archive(imported.architecture.c_str(), imported.config.dump().c_str(), &imported.weights);
}

/// Model::load of the archive that an import gives.
template <class Model>
std::shared_ptr<Model> load(const Imported& imported, const std::string& dtype = "float32") {
  const TemporaryFile file(archive(imported));
  return Model::load(file.path(), fixture::cpu(dtype));
}

/// "Float", "Half"
inline std::string type_of(const at::Tensor& tensor) { return c10::toString(tensor.scalar_type()); }

inline bool says(const styleclip::Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

}  // namespace import_fixture
