// Checkpoints of the field: finding out what one is, importing it, and reading data files (latents, statistics,
// directions) out of the same containers. All on the CPU's device thread.
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "importing/import.h"
#include "leaves.h"

namespace styleclip::binding {
namespace {

using checkpoint::Checkpoint;
using importing::Found;
using importing::Part;

/// A found model between the two steps of an import. The first writeModel takes it; if none comes, the garbage collector
/// unmaps the file.
using FoundHandle = std::shared_ptr<std::unique_ptr<Found>>;
constexpr napi_type_tag kFoundTag = {0x6c1d2f80a4be4e17, 0x8f53c09b7d21e6a4};

Napi::Array write_texts(Napi::Env env, const std::vector<std::string>& texts) {
  Napi::Array list = Napi::Array::New(env, texts.size());
  for (std::uint32_t i = 0; i < texts.size(); ++i) list[i] = texts[i];
  return list;
}

Napi::Array write_parts(Napi::Env env, const std::vector<Part>& parts) {
  Napi::Array list = Napi::Array::New(env, parts.size());
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    Napi::Object object = Napi::Object::New(env);
    object["kind"] = parts[i].kind;
    object["format"] = parts[i].format;
    list[i] = object;
  }
  return list;
}

Napi::Object write_source(Napi::Env env, const Checkpoint& file) {
  Napi::Object object = Napi::Object::New(env);
  object["container"] = checkpoint::container_name(file.container());
  object["sha256"] = file.sha256();
  object["bytes"] = static_cast<double>(file.bytes());
  return object;
}

Napi::Value inspect(const Napi::CallbackInfo& info) {
  struct Inspected {
    Checkpoint file;
    std::vector<Part> parts;
    std::string outline;
  };
  const std::string file = read_text(info[0], "file");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "read " + file,
          [file](const RunContext& run) {
            Checkpoint read = Checkpoint::read(file, run);
            std::vector<Part> parts = importing::parts_of(read);
            std::string outline = importing::outline(read.root());
            return std::make_unique<Inspected>(Inspected{std::move(read), std::move(parts), std::move(outline)});
          },
          [](Napi::Env env, std::unique_ptr<Inspected>&& found) -> Napi::Value {
            Napi::Object object = write_source(env, found->file);
            object["parts"] = write_parts(env, found->parts);
            object["outline"] = found->outline;
            return object;
          });
}

Napi::Value find_model(const Napi::CallbackInfo& info) {
  const std::string file = read_text(info[0], "file");
  const Options options(info[1], "options");
  const std::string kind = options.text("kind");
  const importing::ImportOptions wanted{options.text("configPath"), options.text("activation")};
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[2], "import " + file,
          [file, kind, wanted](const RunContext& run) { return importing::find_model(file, kind, wanted, run); },
          [](Napi::Env env, std::unique_ptr<Found>&& found) -> Napi::Value {
            Napi::Object object = write_source(env, found->file);
            object["kind"] = found->part.kind;
            object["format"] = found->part.format;
            object["config"] = found->imported.config.dump();
            object["ignored"] = write_texts(env, found->imported.ignored);
            object["notes"] = write_texts(env, found->imported.notes);
            object["others"] = write_parts(env, found->others);
            auto* const handle = new FoundHandle(std::make_shared<std::unique_ptr<Found>>(std::move(found)));
            auto external =
                Napi::External<FoundHandle>::New(env, handle, [](Napi::BasicEnv, FoundHandle* data) { delete data; });
            external.TypeTag(&kFoundTag);
            object["handle"] = external;
            return object;
          });
}

Napi::Value write_model(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal() || !info[0].As<Napi::External<FoundHandle>>().CheckTypeTag(&kFoundTag)) {
    refuse(ErrorCode::Argument, "found must come from findModel()", "Pass its handle.");
  }
  const FoundHandle handle = *info[0].As<Napi::External<FoundHandle>>().Data();
  const Options options(info[1], "options");
  const importing::WriteOptions wanted{options.text("storageDtype"), options.text("licence"),
                                       options.text("tokenizer")};
  const std::string file = options.text("file");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[2], "write " + file,
          [handle, wanted, file](const RunContext& run) {
            const std::unique_ptr<Found> found = std::exchange(*handle, nullptr);
            if (found == nullptr) refuse(ErrorCode::Argument, "this file was imported already", "Find it again.");
            return importing::write_model(*found, wanted, file, run);
          },
          [](Napi::Env env, importing::Written&& written) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["layers"] = static_cast<double>(written.layers);
            object["parameters"] = static_cast<double>(written.parameters);
            object["bytes"] = static_cast<double>(written.bytes);
            object["sha256"] = written.sha256;
            object["description"] = written.description_json;
            return object;
          });
}

Napi::Value read_data(const Napi::CallbackInfo& info) {
  struct Read {
    Checkpoint file;
    std::vector<Leaf> leaves;
  };
  const std::string file = read_text(info[0], "file");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "read " + file,
          [file](const RunContext& run) {
            Checkpoint read = Checkpoint::read(file, run);
            std::vector<Leaf> leaves = leaves_of(read, run);
            return std::make_unique<Read>(Read{std::move(read), std::move(leaves)});
          },
          [](Napi::Env env, std::unique_ptr<Read>&& read) -> Napi::Value {
            Napi::Object object = write_source(env, read->file);
            Napi::Array list = Napi::Array::New(env, read->leaves.size());
            for (std::uint32_t i = 0; i < read->leaves.size(); ++i) {
              const Leaf& leaf = read->leaves[i];
              Napi::Object item = Napi::Object::New(env);
              item["path"] = write_texts(env, leaf.path);
              if (leaf.tensor.defined())
                item["tensor"] = write_tensor(env, leaf.tensor);
              else if (leaf.is_number)
                item["number"] = leaf.number;
              else
                item["text"] = leaf.text;
              list[i] = item;
            }
            object["leaves"] = list;
            return object;
          });
}

}  // namespace

void export_importing(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<inspect>(exports, "inspectCheckpoint");
  add_asynchronous<find_model>(exports, "findModel");
  add_asynchronous<write_model>(exports, "writeModel");
  add_asynchronous<read_data>(exports, "readData");
}

}  // namespace styleclip::binding
