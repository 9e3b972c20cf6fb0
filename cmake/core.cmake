# The core: everything of cpp/src, as object files that the addon, the tests and libstyleclip.a share. Two libraries, since
# only cpp/src/models may include torch/script.h. Its few groups compile sooner than a precompiled header of that would.
include(embed)

file(GLOB_RECURSE styleclip_core_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/src/*.cpp")
set(styleclip_models_sources ${styleclip_core_sources})
list(FILTER styleclip_models_sources INCLUDE REGEX "/cpp/src/models/")
list(FILTER styleclip_core_sources EXCLUDE REGEX "/cpp/src/models/")

# TorchScript source text lives in files of its own; C++ reads them as styleclip::embedded_script("name").
styleclip_embed(styleclip_scripts "${PROJECT_SOURCE_DIR}/cpp/src/models" "*.torchscript")

# What every user of the core compiles with.
add_library(styleclip_headers INTERFACE)
target_include_directories(styleclip_headers INTERFACE "${PROJECT_SOURCE_DIR}/cpp/include")
target_link_libraries(styleclip_headers INTERFACE styleclip::torch)

# A file costs two seconds of libtorch's headers whatever is in it, with nlohmann/json seven more and with libtorch's
# autograd functions ten: neighbours are compiled together, in groups that take no more than some 25 seconds. A file's own
# names must neither meet those of its group nor hide what another file takes from elsewhere, which compiles. Files for
# several instruction sets, which take long by themselves, stand alone.
function(styleclip_compile_together group directory)
  list(TRANSFORM ARGN PREPEND "${PROJECT_SOURCE_DIR}/${directory}/")
  list(TRANSFORM ARGN APPEND ".cpp")
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${group})
endfunction()

function(styleclip_in_groups target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${STYLECLIP_UNITY} UNITY_BUILD_MODE GROUP)
endfunction()

styleclip_compile_together(checkpoint_files cpp/src/checkpoint
  checkpoint inflate mapping npy reading torch_zip torchscript_container zip_archive)
styleclip_compile_together(checkpoint_pickle cpp/src/checkpoint
  number_store numpy_type pickle_globals pickle_numpy pickle_text pickle_torch torch_legacy unpickler value)
styleclip_compile_together(editing_training cpp/src/editing augment encoder_training objective pivotal_tuning ranger)
styleclip_compile_together(editing_directions cpp/src/editing edit global_direction inversion text_direction)
styleclip_compile_together(editing_synthesis cpp/src/editing latent_optimizer synthesis synthesis_cpu)
styleclip_compile_together(importing_clip cpp/src/importing clip_description clip_weights hugging_face_clip)
styleclip_compile_together(importing_networks cpp/src/importing identity import importers ir_se_sizes)
styleclip_compile_together(importing_generators cpp/src/importing conversion mean_of_w openai_clip rosinality state_dict)
styleclip_compile_together(encoders cpp/src relevance/exact/network editing/encoder_network importing/encoder)
styleclip_compile_together(mappers cpp/src checkpoint/safetensors editing/mapper_training importing/mapper)
styleclip_compile_together(models_read cpp/src/models archive config load make model tensors)
styleclip_compile_together(models_blueprints cpp/src/models blueprint blueprint_ir_se blueprint_mapper blueprint_stylegan2)
styleclip_compile_together(models_run cpp/src/models build clip encoder generator identity mapper perceptual pixels)
styleclip_compile_together(models_files cpp/src/models
  blueprint_clip pillow_resize preprocess safetensors scalar_type script_text zip_file)
# The operators' groups are named ops_: the tests' second copy of them finds them by that (tests.cmake).
styleclip_compile_together(ops_calls cpp/src/ops arguments cuda_library differentiable registry resampling)
styleclip_compile_together(ops_sweep cpp/src/ops
  accumulate_directions activate add_to_canvas clip_input convolve_to_canvas filter_activate perturb_channels resize_8bit)
styleclip_compile_together(ops_sweep_cpu cpp/src/ops
  accumulate_directions_cpu activate_cpu clip_input_cpu filter_activate_cpu perturb_channels_cpu resize_8bit_cpu rows_cpu)
styleclip_compile_together(ops_gradients cpp/src/ops edit_loss filter_styled_activate resample styled_activate)
styleclip_compile_together(ops_gradients_cpu cpp/src/ops
  edit_loss_cpu filter_styled_activate_cpu resample_cpu styled_activate_cpu)
styleclip_compile_together(relevance_sweeps cpp/src/relevance
  sweep sweep_adaptive sweep_exact sweep_gradient sweep_inputs sweep_reference)
styleclip_compile_together(relevance_screened cpp/src/relevance
  screening slopes style_layout style_moments sweep_screened working_memory)
styleclip_compile_together(relevance_sums cpp/src/relevance
  agreement batching broken confidence engine precision relevance_sums statistics)
styleclip_compile_together(relevance_exact cpp/src/relevance/exact canvas footprint layers painter)
styleclip_compile_together(relevance_shards cpp/src/relevance/shards merge plan shard_file sharded_sweep)
# Without error, which the tests' second copy takes by itself.
styleclip_compile_together(runtime cpp/src/runtime
  allocations atomic_file crew philox reused_memory run runtime sha256)

function(styleclip_add_objects name)
  add_library(${name} OBJECT ${ARGN})
  styleclip_in_groups(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
  target_include_directories(${name} SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party")
  target_compile_definitions(${name} PRIVATE STYLECLIP_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name} PRIVATE styleclip_headers styleclip_warnings)
endfunction()

add_library(styleclip_core INTERFACE)
target_link_libraries(styleclip_core INTERFACE styleclip_headers)
if(styleclip_core_sources)
  styleclip_add_objects(styleclip_core_objects ${styleclip_core_sources})
  if(STYLECLIP_PCH)
    target_precompile_headers(styleclip_core_objects PRIVATE <ATen/ATen.h> <string> <vector> <map> <memory> <functional>)
  endif()
  target_sources(styleclip_core INTERFACE $<TARGET_OBJECTS:styleclip_core_objects>)
endif()
if(styleclip_models_sources)
  styleclip_add_objects(styleclip_models_objects ${styleclip_models_sources})
  target_link_libraries(styleclip_models_objects PRIVATE styleclip_scripts)
  target_sources(styleclip_core INTERFACE $<TARGET_OBJECTS:styleclip_models_objects>
                                          $<TARGET_OBJECTS:styleclip_scripts>)
endif()
