// The models: each wraps one self-describing TorchScript archive (docs/models.md). A model is used by one thread at a
// time; it may be handed from thread to thread. Images are float [n, 3, h, w] RGB in about [-1, 1] unless said otherwise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "styleclip/run.h"
#include "styleclip/style_layout.h"

namespace styleclip {

struct LoadOptions {
  std::string device = "auto";    // "auto", "cpu", "cuda", "cuda:n"
  std::string dtype = "float32";  // "float32", "float16", "bfloat16"
  bool trust = false;             // run the code of a foreign module (one we did not write)
};

/// What an archive says of itself, without loading or compiling it.
struct ArchiveDescription {
  std::string kind;       // "generator", "clip", "identity", "encoder", "mapper", or "module" (foreign)
  std::string json;       // the whole styleclip.json ("{}" for a foreign module)
  std::string tokenizer;  // tokenizer.json of a clip archive, else ""
  std::int64_t bytes = 0;
};
ArchiveDescription read_description(const std::string& path);

/// Creates an archive of `kind` ("stylegan2", "clip", "ir-se", "e4e", "mapper") from a configuration (docs/models.md) and
/// weights under the field's names (rosinality, OpenAI CLIP, TreB1eN, e4e); weights == nullptr draws random ones as the
/// papers say, from `seed`. Weights of any float type and layout: those that already have the stored type and lie in order
/// are not copied, the others are converted one by one.
struct MakeRequest {
  std::string kind;
  std::string config_json;
  const std::map<std::string, at::Tensor>* weights = nullptr;
  std::uint64_t seed = 0;
  // How weights are stored: float32, float16, bfloat16, or source: every tensor in the float type it came in.
  std::string storage_dtype = "float32";
  std::string licence = "unknown";
  std::string tokenizer_json;    // clip only
  std::string source_sha256;     // of the file the weights came from
  std::string source_format;     // "rosinality", ...; "" when the weights came under the field's names
  std::string generator_sha256;  // of the archive that an encoder was trained for; "" where unknown
  std::string training_json;     // how the weights were made, an object; "" when that is not known
  /// Told of memory of `weights` that has been read and is not needed until it is written, or not any more: whoever mapped
  /// a file may give its pages back.
  std::function<void(const void* data, std::size_t bytes)> release;
};
/// In memory.
struct MadeArchive {
  std::string bytes;
  std::string description_json;
  std::int64_t parameters = 0;
};
MadeArchive make_archive(const MakeRequest& request, const RunContext& run);

/// Straight into a file, which appears whole or not at all; no second copy of the weights. Throws Disk.
struct WrittenArchive {
  std::string description_json;
  std::int64_t parameters = 0;
  std::int64_t bytes = 0;
  std::string sha256;
};
WrittenArchive write_archive(const MakeRequest& request, const std::string& path, const RunContext& run);

/// Writes to `path` + a temporary suffix, flushes, renames. Throws Disk and leaves nothing behind on failure.
void write_file_atomic(const std::string& path, const std::string& bytes);

/// Reads every tensor of a .safetensors file (name -> tensor, owned copies).
std::map<std::string, at::Tensor> read_safetensors(const std::string& path);

/// Common to all models.
class Model {
 public:
  virtual ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ArchiveDescription& description() const;
  const std::string& device() const;  // the resolved one: "cpu", "cuda:0"
  const std::string& dtype() const;
  const std::string& sha256() const;  // of the archive file
  std::int64_t memory_bytes() const;  // parameters and buffers
  /// Parameters and buffers under the field's names; the model's own tensors, not copies.
  std::map<std::string, at::Tensor> tensors() const;
  /// Runs any method of the archive on tensors; tensors out (a list or tuple is flattened).
  std::vector<at::Tensor> run_method(const std::string& name, const std::vector<at::Tensor>& inputs);

 protected:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Loads any archive for run_method, whatever its kind.
std::shared_ptr<Model> load_module(const std::string& path, const LoadOptions& options);

enum class NoiseMode { Const, Random, None };

class Generator : public Model {
 public:
  static std::shared_ptr<Generator> load(const std::string& path, const LoadOptions& options);
  ~Generator() override;

  const StyleLayout& layout() const;
  std::int64_t z_dim() const;
  std::int64_t w_dim() const;
  std::int64_t image_size() const;

  /// z [count, z_dim] of samples first..first+count-1, N(0,1), on the CPU, from a counter-based generator
  /// (Philox 4x32-10, key = seed, counter = sample and element): a sample depends on (seed, index) alone.
  at::Tensor sample_z(std::int64_t count, std::uint64_t seed, std::int64_t first = 0) const;
  /// Length of a label; 0 where the generator is not conditional.
  std::int64_t label_dim() const;
  /// Labels of the same samples, for sweeps and statistics over all classes: the classes in turn, one-hot, by number of the
  /// sample. Undefined where the generator is not conditional.
  at::Tensor sample_labels(std::int64_t count, std::int64_t first = 0) const;
  /// [n, z_dim] -> w [n, w_dim]. Throws Argument when the generator is conditional.
  at::Tensor mapping(const at::Tensor& z);
  /// The same with labels [n, label_dim], one-hot in training; undefined for a generator that is not conditional.
  at::Tensor mapping(const at::Tensor& z, const at::Tensor& labels);
  /// w [n, w_dim] -> w_plus [n, rows, w_dim]: rows < cutoff become w_avg + psi (w - w_avg); cutoff < 0 means all rows.
  at::Tensor truncate(const at::Tensor& w, double psi, std::int64_t cutoff) const;
  /// w_plus [n, rows, w_dim] -> S [n, total] float32
  at::Tensor styles(const at::Tensor& w_plus);
  /// S [n, total] -> image [n, 3, size, size] float32, nominally [-1, 1], not clamped.
  /// Random noise depends on (noise_seed, number of the picture) alone; `first` is the number of the first one, so that a
  /// long series may be rendered in batches of any size.
  at::Tensor synthesis(const at::Tensor& s, NoiseMode noise = NoiseMode::Const, std::uint64_t noise_seed = 0,
                       std::int64_t first = 0);
  /// The same with given noise maps: one [1 or n, 1, r, r] for each convolution, in order of the layers.
  at::Tensor synthesis(const at::Tensor& s, const std::vector<at::Tensor>& noise);
  /// Sides of the noise maps, one for each convolution.
  std::vector<std::int64_t> noise_sizes() const;

 private:
  struct State;
  explicit Generator(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

enum class Preprocess {
  Float,      // antialiased bicubic (a = -0.5) on floats, no clamp, then mean and std
  Reference8  // the released code's three 8-bit roundings (styleclip.md H.2)
};

class Clip : public Model {
 public:
  static std::shared_ptr<Clip> load(const std::string& path, const LoadOptions& options);
  ~Clip() override;

  std::int64_t image_size() const;
  std::int64_t embedding_dim() const;
  std::int64_t context_length() const;
  std::int64_t vocabulary_size() const;
  /// A copy whose weights are in another float type ("float16", …), normalisations in float32 as always.
  std::shared_ptr<Clip> converted(const std::string& dtype) const;

  /// Images [-1, 1], any size -> CLIP's input [n, 3, image_size, image_size], normalised by mean and std.
  at::Tensor preprocess(const at::Tensor& images, Preprocess mode) const;
  /// CLIP's input -> embedding [n, d] float32, not normalised.
  at::Tensor encode_image(const at::Tensor& input);
  /// tokens int64 [n, context] -> embedding [n, d] float32, not normalised.
  at::Tensor encode_text(const at::Tensor& tokens);

 private:
  struct State;
  explicit Clip(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Identity : public Model {
 public:
  static std::shared_ptr<Identity> load(const std::string& path, const LoadOptions& options);
  ~Identity() override;
  std::int64_t image_size() const;
  std::int64_t embedding_dim() const;
  /// Images [-1, 1], any size -> unit embedding [n, d]; the description's preprocessing is "face-crop"
  /// (pool to 256, rows 35:223, columns 32:220, pool to 112: StyleCLIP id_loss) or "resize" (adaptive pool).
  at::Tensor embed(const at::Tensor& images);

 private:
  struct State;
  explicit Identity(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Encoder : public Model {
 public:
  static std::shared_ptr<Encoder> load(const std::string& path, const LoadOptions& options);
  ~Encoder() override;
  /// Width of its pictures, and their height, which is smaller for e4e's cars.
  std::int64_t image_size() const;
  std::int64_t image_height() const;
  /// Images [-1, 1] -> w_plus [n, rows, w_dim] (latent average added when the archive has one).
  at::Tensor encode(const at::Tensor& images);

 private:
  struct State;
  explicit Encoder(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// StyleCLIP's latent mapper: a text's edit as a function of the latent.
class Mapper : public Model {
 public:
  static std::shared_ptr<Mapper> load(const std::string& path, const LoadOptions& options);
  ~Mapper() override;
  /// "w_plus", or "s": the flat S of the generator it was trained with.
  const std::string& space() const;
  /// Rows of w_plus; 0 in s.
  std::int64_t rows() const;
  /// Width of a row of w_plus; in s, the channels of all layers.
  std::int64_t width() const;
  /// M(latents): [n, rows, width] -> the same, or [n, width] -> the same, float32. Parts without a mapper give zeros.
  at::Tensor delta(const at::Tensor& latents);
  /// latents + 0.1 * strength * M(latents): strength 1 is what the mapper was trained for (SC:mapper/styleclip_mapper.py).
  at::Tensor apply(const at::Tensor& latents, double strength = 1);

 private:
  struct State;
  explicit Mapper(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A foreign module that compares pictures: LPIPS as TorchScript. Either it takes two pictures in [-1, 1] and gives their
/// distances, or it takes one and gives features whose squared distance counts (the projector's VGG16, which takes 0..255
/// and has an argument `return_lpips`). Larger pictures are area-resized to 256 pixels, as the projector does.
class Perceptual : public Model {
 public:
  static std::shared_ptr<Perceptual> load(const std::string& path, const LoadOptions& options);
  ~Perceptual() override;
  bool takes_two() const;
  /// [n, 3, h, w] -> [n, features]; the resized pictures themselves where it takes two.
  at::Tensor features(const at::Tensor& images);
  /// [n]; `target` is of features().
  at::Tensor distance(const at::Tensor& images, const at::Tensor& target);

 private:
  struct State;
  explicit Perceptual(std::unique_ptr<Impl> impl, std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// uint8 picture values as the field makes them: clamp(x * 127.5 + 128, 0, 255), truncated. [n,3,h,w] -> [n,h,w,3] u8.
at::Tensor to_uint8_nhwc(const at::Tensor& images);
/// The other way: u8 [n,h,w,3] -> float [n,3,h,w] = x / 127.5 - 1.
at::Tensor from_uint8_nhwc(const at::Tensor& pixels);

}  // namespace styleclip
