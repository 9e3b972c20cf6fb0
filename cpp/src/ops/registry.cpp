// Registration of the operators, and the choice between implementations.
//
// The dispatcher of libtorch is one per process, while this code may be there twice (two versions of the package in one
// program). The static macro TORCH_LIBRARY would then throw in a static initialiser and end the process; here a
// torch::Library is built inside a function. So that the second copy can say who was first, the first one registers an
// operator that returns its own path, `styleclip::_owner() -> str`, and the second asks it.
#include "ops/registry.h"

#include <dlfcn.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "ops/accumulate_directions.h"
#include "ops/activate.h"
#include "ops/add_to_canvas.h"
#include "ops/clip_input.h"
#include "ops/convolve_to_canvas.h"
#include "ops/edit_loss.h"
#include "ops/filter_activate.h"
#include "ops/filter_styled_activate.h"
#include "ops/perturb_channels.h"
#include "ops/resample.h"
#include "ops/resize_8bit.h"
#include "ops/styled_activate.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

constexpr char kNamespace[] = "styleclip";
constexpr std::array<const char*, 13> kOperators = {
    kAccumulateDirections, kPerturbChannels,  kActivate,  kFilterActivate, kAddToCanvas,
    kActivateToCanvas,     kConvolveToCanvas, kClipInput, kResample,       kStyledActivate,
    kFilterStyledActivate, kEditLoss,         kResize8bit};

// Guards the two variables below it.
std::mutex& registry_mutex() {
  static std::mutex mutex;
  return mutex;
}
// Never destroyed: deregistration during static destruction would race with a device thread that still runs.
torch::Library* registered = nullptr;
std::map<std::string, std::string>& forced_names() {
  static auto* const names = new std::map<std::string, std::string>();
  return *names;
}

std::string qualified(const std::string& op) { return std::string(kNamespace) + "::" + op; }

// Path of the copy that registered the namespace, or "" when there is none that says.
std::string registered_owner() {
  const auto owner = c10::Dispatcher::singleton().findSchema({qualified("_owner"), ""});
  if (!owner) return "";
  torch::jit::Stack stack;
  owner->callBoxed(&stack);
  return stack.empty() || !stack.back().isString() ? "" : stack.back().toStringRef();
}

[[noreturn]] void throw_already_loaded(const std::string& owner, const std::string& cause) {
  throw Error(ErrorCode::AlreadyLoaded,
              "Another copy of styleclip is loaded in this process: " +
                  (owner.empty() ? std::string("a library that does not say its path") : owner) + "; this one is " +
                  own_library_path() + ".",
              "Keep one copy: `npm ls styleclip` shows who brings which; run the other in a process of its own.",
              cause);
}

// The namespace, taken for this copy; throws AlreadyLoaded when another copy has it.
std::unique_ptr<torch::Library> take_namespace() {
  static const std::string path = own_library_path();  // the dispatcher keeps the pointer for its messages
  const std::string owner = registered_owner();
  if (!owner.empty()) throw_already_loaded(owner, "");
  try {
    return std::make_unique<torch::Library>(torch::Library::DEF, kNamespace, std::nullopt, path.c_str(), 0);
  } catch (const c10::Error& error) {
    // A copy that was quicker, or one of a version that registers no owner.
    throw_already_loaded(registered_owner(), error.what_without_backtrace());
  }
}

void require_known(const std::string& op) {
  if (std::any_of(kOperators.begin(), kOperators.end(), [&](const char* known) { return op == known; })) return;
  std::string names;
  for (const char* known : kOperators) names += (names.empty() ? "" : ", ") + std::string(known);
  throw Error(ErrorCode::Argument, "There is no operator \"" + op + "\".", "The operators are: " + names + ".");
}

// Arguments as the dispatcher hands them over -> as the implementations take them: an optional tensor may be undefined.
template <typename T>
T& plain(T& argument) {
  return argument;  // NOLINT(bugprone-return-const-ref-from-parameter): the dispatcher's own, alive for the call
}
at::Tensor plain(const std::optional<at::Tensor>& tensor) { return tensor.value_or(at::Tensor()); }

template <typename Signature, auto implementation>
struct Adapted;
template <typename Result, typename... Arguments, auto implementation>
struct Adapted<Result(Arguments...), implementation> {
  static Result call(Arguments... arguments) { return implementation(plain(arguments)...); }
};

// Defines an operator with the implementation for every device, and the one for the CPU.
template <typename Signature, auto reference, auto cpu>
void add(torch::Library& library, const char* name, const char* schema) {
  library.def(schema);
  library.impl(name,
               torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, &Adapted<Signature, reference>::call));
  library.impl(name, torch::dispatch(c10::DispatchKey::CPU, &Adapted<Signature, cpu>::call));
}

// What the dispatcher runs first of an operator with gradients: its C++ entry, which makes the autograd node.
template <typename Signature, auto entry>
void add_autograd(torch::Library& library, const char* name) {
  library.impl(name, torch::dispatch(c10::DispatchKey::Autograd, &Adapted<Signature, entry>::call));
}

std::tuple<at::Tensor, at::Tensor> edit_loss_pair(const at::Tensor& embedding, const at::Tensor& text,
                                                  const at::Tensor& latents, const at::Tensor& source,
                                                  const at::Tensor& identity, const at::Tensor& source_identity,
                                                  double lambda_clip, double lambda_l2, double lambda_id, bool mean) {
  EditLoss loss =
      edit_loss(embedding, text, latents, source, identity, source_identity, lambda_clip, lambda_l2, lambda_id, mean);
  return {std::move(loss.total), std::move(loss.parts)};
}

void add_differentiable(torch::Library& library) {
  add<ResampleSignature, &resample_reference, &resample_cpu>(library, kResample, kResampleSchema);
  add_autograd<ResampleSignature, &resample>(library, kResample);
  add<StyledActivateSignature, &styled_activate_reference, &styled_activate_cpu>(library, kStyledActivate,
                                                                                 kStyledActivateSchema);
  add<StyledActivateBackwardSignature, &styled_activate_backward_reference, &styled_activate_backward_cpu>(
      library, kStyledActivateBackward, kStyledActivateBackwardSchema);
  add_autograd<StyledActivateSignature, &styled_activate>(library, kStyledActivate);
  add<FilterStyledActivateSignature, &filter_styled_activate_reference, &filter_styled_activate_cpu>(
      library, kFilterStyledActivate, kFilterStyledActivateSchema);
  add<FilterStyledActivateBackwardSignature, &filter_styled_activate_backward_reference,
      &filter_styled_activate_backward_cpu>(library, kFilterStyledActivateBackward,
                                            kFilterStyledActivateBackwardSchema);
  add_autograd<FilterStyledActivateSignature, &filter_styled_activate>(library, kFilterStyledActivate);
  add<EditLossSignature, &edit_loss_pair, &edit_loss_pair>(library, kEditLoss, kEditLossSchema);
  add<EditLossGradientsSignature, &edit_loss_gradients_reference, &edit_loss_gradients_cpu>(library, kEditLossGradients,
                                                                                            kEditLossGradientsSchema);
  add_autograd<EditLossSignature, &edit_loss_pair>(library, kEditLoss);
}

}  // namespace

std::string own_library_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&own_library_path), &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

void register_ops() {
  const std::lock_guard lock(registry_mutex());
  if (registered != nullptr) return;
  std::unique_ptr<torch::Library> library = take_namespace();
  library->def("_owner() -> str", [] { return own_library_path(); });
  add<AccumulateDirectionsSignature, &accumulate_directions_reference, &accumulate_directions_cpu>(
      *library, kAccumulateDirections, kAccumulateDirectionsSchema);
  add<PerturbChannelsSignature, &perturb_channels_reference, &perturb_channels_cpu>(*library, kPerturbChannels,
                                                                                    kPerturbChannelsSchema);
  add<ActivateSignature, &activate_reference, &activate_cpu>(*library, kActivate, kActivateSchema);
  add<FilterActivateSignature, &filter_activate_reference, &filter_activate_cpu>(*library, kFilterActivate,
                                                                                 kFilterActivateSchema);
  add<AddToCanvasSignature, &add_to_canvas_reference, &add_to_canvas_cpu>(*library, kAddToCanvas, kAddToCanvasSchema);
  add<ActivateToCanvasSignature, &activate_to_canvas_reference, &activate_to_canvas_cpu>(*library, kActivateToCanvas,
                                                                                         kActivateToCanvasSchema);
  add<ConvolveToCanvasSignature, &convolve_to_canvas_reference, &convolve_to_canvas_cpu>(*library, kConvolveToCanvas,
                                                                                         kConvolveToCanvasSchema);
  add<ClipInputSignature, &clip_input_reference, &clip_input_cpu>(*library, kClipInput, kClipInputSchema);
  add<Resize8bitSignature, &resize_8bit_reference, &resize_8bit_cpu>(*library, kResize8bit, kResize8bitSchema);
  add_differentiable(*library);
  registered = library.release();
}

c10::OperatorHandle find_operator(const char* op) {
  register_ops();
  return c10::Dispatcher::singleton().findSchemaOrThrow(qualified(op).c_str(), "");
}

std::vector<std::string> implementations(const std::string& op) {
  require_known(op);
  std::vector<std::string> names = {"reference", "cpu"};
  if (find_operator(op.c_str()).hasKernelForDispatchKey(c10::DispatchKey::CUDA)) names.emplace_back("cuda");
  return names;
}

void force_implementation(const std::string& op, const std::string& name) {
  const std::vector<std::string> known = implementations(op);
  if (!name.empty() && std::find(known.begin(), known.end(), name) == known.end()) {
    std::string names;
    for (const std::string& one : known) names += (names.empty() ? "" : ", ") + one;
    throw Error(ErrorCode::Argument, "The operator " + op + " has no implementation \"" + name + "\" here.",
                "There are: " + names + ".");
  }
  const std::lock_guard lock(registry_mutex());
  forced_names()[op] = name;
}

bool use_reference(const std::string& op, c10::Device device) {
  std::string name;
  {
    const std::lock_guard lock(registry_mutex());
    const auto found = forced_names().find(op);
    if (found != forced_names().end()) name = found->second;
  }
  if (name.empty()) return false;
  if (name == "reference") return true;
  if (name == c10::DeviceTypeName(device.type(), /*lower_case=*/true)) return false;
  throw Error(
      ErrorCode::Argument,
      "The implementation \"" + name + "\" of " + op + " was forced, but the tensors are on " + device.str() + ".",
      "Move the tensors, or force no implementation.");
}

bool use_reference(const std::string& op, const at::Tensor& tensor) {
  return !tensor.defined() || use_reference(op, tensor.device());
}

}  // namespace styleclip
