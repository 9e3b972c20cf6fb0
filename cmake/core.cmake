# The core: everything of cpp/src, as object files that the addon, the tests and libstyleclip.a share. Two groups, since
# only cpp/src/models may include torch/script.h, whose precompiled header is half as large again as ATen's.
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

# nlohmann/json costs a file that includes it seven seconds, libtorch's autograd functions ten: such files are compiled
# together, in groups whose names of their own do not meet.
function(styleclip_compile_together group directory)
  list(TRANSFORM ARGN PREPEND "${PROJECT_SOURCE_DIR}/${directory}/")
  list(TRANSFORM ARGN APPEND ".cpp")
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${group})
endfunction()

function(styleclip_in_groups target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${STYLECLIP_UNITY} UNITY_BUILD_MODE GROUP)
endfunction()

styleclip_compile_together(ops_gradients cpp/src/ops edit_loss filter_styled_activate resample styled_activate)
styleclip_compile_together(importing_clip cpp/src/importing clip_description clip_weights hugging_face_clip)
styleclip_compile_together(importing_networks cpp/src/importing identity import importers ir_se_sizes)
styleclip_compile_together(importing_generators cpp/src/importing conversion mean_of_w openai_clip rosinality state_dict)
styleclip_compile_together(encoders cpp/src relevance/exact/network editing/encoder_network importing/encoder)
styleclip_compile_together(mappers cpp/src checkpoint/safetensors editing/mapper_training importing/mapper)
styleclip_compile_together(models_read cpp/src/models archive config load make model tensors)
styleclip_compile_together(models_blueprints cpp/src/models blueprint blueprint_ir_se blueprint_mapper blueprint_stylegan2)
styleclip_compile_together(models_run cpp/src/models build clip encoder generator identity mapper perceptual pixels)

function(styleclip_add_objects name header)
  add_library(${name} OBJECT ${ARGN})
  styleclip_in_groups(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
  target_include_directories(${name} SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party")
  target_compile_definitions(${name} PRIVATE STYLECLIP_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name} PRIVATE styleclip_headers styleclip_warnings)
  if(STYLECLIP_PCH)
    target_precompile_headers(${name} PRIVATE "<${header}>" <string> <vector> <map> <memory> <functional>)
  endif()
endfunction()

add_library(styleclip_core INTERFACE)
target_link_libraries(styleclip_core INTERFACE styleclip_headers)
if(styleclip_core_sources)
  styleclip_add_objects(styleclip_core_objects ATen/ATen.h ${styleclip_core_sources})
  target_sources(styleclip_core INTERFACE $<TARGET_OBJECTS:styleclip_core_objects>)
endif()
if(styleclip_models_sources)
  styleclip_add_objects(styleclip_models_objects torch/script.h ${styleclip_models_sources})
  target_link_libraries(styleclip_models_objects PRIVATE styleclip_scripts)
  target_sources(styleclip_core INTERFACE $<TARGET_OBJECTS:styleclip_models_objects>
                                          $<TARGET_OBJECTS:styleclip_scripts>)
endif()
