// Archives: reading what one says of itself, making one, loading one, and running any method of it. All on a device
// thread, since these too call libtorch; what needs no model runs on the CPU's.
#include <limits>
#include <map>
#include <utility>

#include "convert.h"
#include "environment.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "runtime/sha256.h"
#include "styleclip/models.h"
#include "styleclip/ops.h"

namespace styleclip::binding {
namespace {

Napi::Value describe(const Napi::CallbackInfo& info) {
  struct Described {
    ArchiveDescription archive;
    std::string sha256;
  };
  const std::string file = read_text(info[0], "file");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info.Env().Undefined(), "read " + file,
          [file](const RunContext&) -> Described { return {read_description(file), sha256_of_file(file)}; },
          [](Napi::Env env, Described&& described) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["kind"] = described.archive.kind;
            object["description"] = described.archive.json;
            object["bytes"] = static_cast<double>(described.archive.bytes);
            object["sha256"] = described.sha256;
            return object;
          });
}

WrittenArchive make_file(MakeRequest request, const std::string& weights, const std::string& file,
                         const RunContext& run) {
  std::map<std::string, at::Tensor> tensors;
  if (!weights.empty()) {
    tensors = read_safetensors(weights);
    request.weights = &tensors;
    request.source_sha256 = sha256_of_file(weights);
  }
  return write_archive(request, file, run);
}

Napi::Value make(const Napi::CallbackInfo& info) {
  const Options options(info[0], "request");
  MakeRequest request;
  request.kind = options.text("kind");
  request.config_json = options.text("config");
  request.seed = options.seed("seed");
  request.storage_dtype = options.text("storageDtype");
  request.licence = options.text("licence");
  request.tokenizer_json = options.text("tokenizer");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "make " + options.text("file"),
          [request = std::move(request), weights = options.text("weights"),
           file = options.text("file")](const RunContext& run) { return make_file(request, weights, file, run); },
          [](Napi::Env env, WrittenArchive&& made) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["description"] = made.description_json;
            object["parameters"] = static_cast<double>(made.parameters);
            object["bytes"] = static_cast<double>(made.bytes);
            object["sha256"] = made.sha256;
            return object;
          });
}

std::shared_ptr<LoadedModel> load_file(const std::string& file, const std::string& kind, const LoadOptions& options) {
  register_ops();
  if (kind == "generator") {
    auto generator = Generator::load(file, options);
    StyleLayout layout = generator->layout();
    return std::make_shared<LoadedModel>(std::move(generator), kind, file, std::move(layout));
  }
  std::shared_ptr<Model> model;
  if (kind == "clip") model = Clip::load(file, options);
  if (kind == "identity") model = Identity::load(file, options);
  if (kind == "encoder") model = Encoder::load(file, options);
  if (kind == "mapper") model = Mapper::load(file, options);
  if (kind == "perceptual") model = Perceptual::load(file, options);
  if (kind == "module") model = load_module(file, options);
  return std::make_shared<LoadedModel>(std::move(model), kind, file, std::nullopt);
}

Napi::Value load(const Napi::CallbackInfo& info) {
  const std::string file = read_text(info[0], "file");
  const Options options(info[1], "options");
  const auto kind = options.choice<std::string>("kind", {{"generator", "generator"},
                                                         {"clip", "clip"},
                                                         {"identity", "identity"},
                                                         {"encoder", "encoder"},
                                                         {"mapper", "mapper"},
                                                         {"perceptual", "perceptual"},
                                                         {"module", "module"}});
  const LoadOptions wanted{options.text("device"), options.text("dtype"), options.boolean("trust")};
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[2], "load " + file,
          [file, kind, wanted](const RunContext& run) {
            run.check();
            return load_file(file, kind, wanted);
          },
          [](Napi::Env env, std::shared_ptr<LoadedModel>&& model) -> Napi::Value {
            return ModelObject::create(env, std::move(model));
          });
}

Napi::Value run_method(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0]);
  const std::string method = read_text(info[1], "method");
  if (!info[2].IsArray()) refuse(ErrorCode::Argument, "inputs must be an array", "Pass an array of { data, shape }.");
  const auto list = info[2].As<Napi::Array>();
  std::vector<HostArray> inputs;
  inputs.reserve(list.Length());
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    inputs.push_back(read_tensor(list.Get(i), {"inputs[" + std::to_string(i) + "]", {}, -1}));
  }
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "run " + method,
          [model = std::move(model), method, inputs = std::move(inputs)](const RunContext&) {
            std::vector<at::Tensor> tensors;
            // Clones: a script may change its inputs, or return a view of one that outlives this job.
            for (const HostArray& input : inputs) tensors.push_back(input.view().clone());
            std::vector<at::Tensor> results = model->get<Model>().run_method(method, tensors);
            for (at::Tensor& result : results) result = to_host(result);
            return results;
          },
          [](Napi::Env env, std::vector<at::Tensor>&& results) -> Napi::Value {
            Napi::Array list = Napi::Array::New(env, results.size());
            for (std::uint32_t i = 0; i < results.size(); ++i) list[i] = write_tensor(env, results[i]);
            return list;
          });
}

}  // namespace

void export_archives(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<describe>(exports, "describe");
  add_asynchronous<make>(exports, "make");
  add_asynchronous<load>(exports, "load");
  add_asynchronous<run_method>(exports, "runMethod");
}

}  // namespace styleclip::binding
