// A model's blueprint: every tensor under its field's name, and which TorchScript source stands at which module path.
// An architecture is a function from a configuration to a blueprint (blueprint_*.cpp); checking weights, drawing random
// ones, building the module tree and writing the archive are the same for all of them.
#pragma once

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace styleclip {

struct TensorSpec {
  enum class Init {
    Constant,  // every element is `scale`
    Normal,    // N(0, scale^2)
    Uniform,   // U(-scale, scale)
    Blur       // outer([1,3,3,1]) / 64 * scale (StyleGAN2's FIR, gain included)
  };
  std::string name;  // "convs.0.conv.weight"
  std::vector<std::int64_t> shape;
  Init init = Init::Constant;
  double scale = 0;
  bool buffer = false;
  bool optional = false;  // weights may lack it; then it takes its initial value
  bool integer = false;   // int64 instead of a float type
};

/// Code of the module at a path ("" is the root): a TorchScript text, and the constants it reads as attributes.
struct CodeSpec {
  std::string source;
  std::map<std::string, c10::IValue> constants;
};

struct Blueprint {
  std::string kind;                // generator, clip, identity, encoder, mapper
  std::string architecture;        // stylegan2, clip, ir-se, e4e, mapper
  nlohmann::ordered_json config;   // complete: defaults filled in
  nlohmann::ordered_json details;  // kind-specific fields of styleclip.json
  std::vector<TensorSpec> tensors;
  std::map<std::string, CodeSpec> code;
  std::vector<std::string> ignored;  // names that weights may hold and the archive leaves out

  void parameter(std::string name, std::vector<std::int64_t> shape, TensorSpec::Init init, double scale);
  void buffer(std::string name, std::vector<std::int64_t> shape, TensorSpec::Init init, double scale);
  /// torch.nn.Linear and Conv2d as the framework initialises them: U(-1/sqrt(fan in), 1/sqrt(fan in)), bias alike.
  void layer(const std::string& name, std::vector<std::int64_t> weight_shape, bool bias);
  /// BatchNorm: weight, bias, running_mean, running_var, num_batches_tracked; code "batch_norm".
  void batch_norm(const std::string& name, std::int64_t channels, double weight = 1);
  void layer_norm(const std::string& name, std::int64_t width);
};

Blueprint stylegan2_blueprint(const nlohmann::json& config);
Blueprint clip_blueprint(const nlohmann::json& config);
Blueprint ir_se_blueprint(const nlohmann::json& config);
Blueprint e4e_blueprint(const nlohmann::json& config);
Blueprint mapper_blueprint(const nlohmann::json& config);
/// By architecture name; throws Argument for one that does not exist.
Blueprint make_blueprint(const std::string& architecture, const std::string& config_json);

/// Tensors of a kind that are kept in float32 whatever the model's dtype is: what normalises, scales or accumulates.
bool stays_float32(const std::string& kind, const std::string& name);
/// Those, and what makes CLIP's embedding: two pictures' embeddings are subtracted, and a rounded last product would leave
/// little of a small difference. Stored as the others, converted when a model is loaded.
bool runs_in_float32(const std::string& kind, const std::string& name);

}  // namespace styleclip
