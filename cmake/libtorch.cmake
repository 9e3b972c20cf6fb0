# libtorch as imported targets, each one a file of the directory STYLECLIP_LIBTORCH: styleclip::torch (libtorch_cpu and
# libc10, with headers), and styleclip::c10_cuda and styleclip::torch_cuda where those files are there. Sets
# styleclip_torch_version ("2.13.0") from the headers, since their ABI holds for one minor release only.

if(NOT STYLECLIP_LIBTORCH)
  message(FATAL_ERROR "Say where libtorch is: -DSTYLECLIP_LIBTORCH=<directory with lib/ and include/>. "
                      "`npm run build` fetches one and does the rest.")
endif()
foreach(file lib/libtorch_cpu.so lib/libc10.so include/ATen/core/Tensor.h)
  if(NOT EXISTS "${STYLECLIP_LIBTORCH}/${file}")
    message(FATAL_ERROR "STYLECLIP_LIBTORCH is ${STYLECLIP_LIBTORCH}, which has no ${file}.")
  endif()
endforeach()

set(styleclip_torch_version "")
foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(styleclip_torch_version STREQUAL "" AND EXISTS "${STYLECLIP_LIBTORCH}/include/${header}")
    file(READ "${STYLECLIP_LIBTORCH}/include/${header}" text)
    if(text MATCHES "#define TORCH_VERSION_MAJOR ([0-9]+).*#define TORCH_VERSION_MINOR ([0-9]+).*#define TORCH_VERSION_PATCH ([0-9]+)")
      set(styleclip_torch_version "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
    endif()
  endif()
endforeach()
if(styleclip_torch_version VERSION_LESS 2.11 OR styleclip_torch_version VERSION_GREATER_EQUAL 2.16)
  message(FATAL_ERROR "libtorch at ${STYLECLIP_LIBTORCH} is \"${styleclip_torch_version}\"; 2.11 to 2.15 are supported.")
endif()
message(STATUS "libtorch ${styleclip_torch_version}: ${STYLECLIP_LIBTORCH}")

# Checks in ATen's headers put __FILE__ into their messages.
if(STYLECLIP_PREBUILD)
  add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=" "-ffile-prefix-map=${STYLECLIP_LIBTORCH}/=libtorch/")
endif()

function(styleclip_import_library name)
  if(EXISTS "${STYLECLIP_LIBTORCH}/lib/lib${name}.so")
    add_library(styleclip::${name} SHARED IMPORTED GLOBAL)
    set_target_properties(styleclip::${name} PROPERTIES IMPORTED_LOCATION "${STYLECLIP_LIBTORCH}/lib/lib${name}.so")
  endif()
endfunction()
styleclip_import_library(c10)
styleclip_import_library(torch_cpu)
styleclip_import_library(c10_cuda)
styleclip_import_library(torch_cuda)

add_library(styleclip_torch INTERFACE)
add_library(styleclip::torch ALIAS styleclip_torch)
target_include_directories(styleclip_torch SYSTEM INTERFACE "${STYLECLIP_LIBTORCH}/include"
                                                            "${STYLECLIP_LIBTORCH}/include/torch/csrc/api/include")
target_link_libraries(styleclip_torch INTERFACE styleclip::torch_cpu styleclip::c10)
# at::parallel_for is a header template over OpenMP. Only compile for it: its run-time library is the one libtorch
# brings, found through libtorch's own dependencies, so that a process never has two.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(styleclip_torch INTERFACE -fopenmp)
endif()

# What a program adds (the addon does not: Node leaves its symbols open anyway): libtorch's own OpenMP by file name, and
# no look by the linker into what libtorch_cpu needs in turn, which its own run path finds when it is loaded.
file(GLOB styleclip_gomp "${STYLECLIP_LIBTORCH}/lib/libgomp*.so*")
add_library(styleclip_program INTERFACE)
add_library(styleclip::program ALIAS styleclip_program)
target_link_libraries(styleclip_program INTERFACE styleclip::torch ${styleclip_gomp})
target_link_options(styleclip_program INTERFACE -Wl,--allow-shlib-undefined)
