# styleclip_cuda.so: the kernels of cuda/, compiled by nvcc, with their registrations. nvcc is called by custom commands,
# not through CMake's CUDA language, which would want to run and link a whole toolkit at configure time; the compiler may
# come from NVIDIA's wheels, which are enough: nvidia-cuda-nvcc, -cuda-crt, -nvvm, -cuda-cccl and -cuda-runtime of one
# version (pip's cuda-toolkit[nvcc,nvvm,cccl,cudart]), unpacked into one tree, programs executable.
#
#   STYLECLIP_NVCC               root of the compiler, with bin/nvcc and include/; by default that of the nvcc on PATH
#   STYLECLIP_CUDA_ARCHITECTURES compute capabilities to compile for, "75;80;90"; by default all that this nvcc knows of
#                                the list below. The last plain one is included as PTX too, for later devices.
#   STYLECLIP_CUDA_FLAGS         more flags for nvcc, such as -lineinfo for a profiler (which puts paths into the output)
#
# The library links libtorch_cpu, libc10, libc10_cuda and libcudart by file name, not libtorch_cuda, so it can be linked
# and loaded where there is no GPU.

# Code for a device runs on the later ones of its major version too (87 and 88: 86; 103: 100; 121: 120).
set(styleclip_known_architectures 75 80 86 89 90 100 110 120)
set(STYLECLIP_CUDA_ARCHITECTURES "" CACHE STRING "Compute capabilities, empty for all that are known")
set(STYLECLIP_CUDA_FLAGS "" CACHE STRING "More flags for nvcc")

# ----------------------------------------------------------------------------------------------------------------------
# The compiler

set(cuda_root "${STYLECLIP_NVCC}")
if(NOT cuda_root)
  find_program(STYLECLIP_NVCC_ON_PATH nvcc)
  mark_as_advanced(STYLECLIP_NVCC_ON_PATH)
  if(NOT STYLECLIP_NVCC_ON_PATH)
    message(FATAL_ERROR "STYLECLIP_CUDA needs nvcc: set STYLECLIP_NVCC to the directory with bin/nvcc.")
  endif()
  file(REAL_PATH "${STYLECLIP_NVCC_ON_PATH}" cuda_root)
  cmake_path(GET cuda_root PARENT_PATH cuda_root)
  cmake_path(GET cuda_root PARENT_PATH cuda_root)
endif()
set(nvcc "${cuda_root}/bin/nvcc")
execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE version_text ERROR_VARIABLE problem RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR NOT version_text MATCHES "V([0-9]+)\\.([0-9]+)\\.([0-9]+)")
  message(FATAL_ERROR "${nvcc} does not run (${status}): ${problem}")
endif()
set(nvcc_version "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
set(nvcc_major "${CMAKE_MATCH_1}")

set(architectures ${STYLECLIP_CUDA_ARCHITECTURES})
if(NOT architectures)
  execute_process(COMMAND "${nvcc}" --list-gpu-code OUTPUT_VARIABLE codes COMMAND_ERROR_IS_FATAL ANY)
  foreach(architecture IN LISTS styleclip_known_architectures)
    string(REGEX MATCH "^[0-9]+" number "${architecture}")
    if(codes MATCHES "sm_${number}[^0-9]")
      list(APPEND architectures ${architecture})
    endif()
  endforeach()
endif()
set(code_flags "")
set(newest "")
foreach(architecture IN LISTS architectures)
  list(APPEND code_flags "-gencode=arch=compute_${architecture},code=sm_${architecture}")
  if(architecture MATCHES "^[0-9]+$")
    set(newest ${architecture})
  endif()
endforeach()
if(newest)
  list(APPEND code_flags "-gencode=arch=compute_${newest},code=compute_${newest}")
endif()
list(JOIN architectures " " listed)
message(STATUS "nvcc ${nvcc_version}: ${cuda_root}, for ${listed}")

# ----------------------------------------------------------------------------------------------------------------------
# The run-time library: the one that libtorch itself is linked to, whose major version must be the compiler's

if(NOT TARGET styleclip::c10_cuda)
  message(FATAL_ERROR "STYLECLIP_LIBTORCH has no libc10_cuda.so: the CUDA plug-in needs a libtorch for CUDA.")
endif()
file(STRINGS "${STYLECLIP_LIBTORCH}/lib/libc10_cuda.so" cudart REGEX "^libcudart[-.a-z0-9]*\\.so\\.[0-9.]+$" LIMIT_COUNT 1)
if(NOT cudart MATCHES "\\.so\\.${nvcc_major}(\\.|$)")
  message(FATAL_ERROR "libtorch is linked to ${cudart}, but nvcc is of CUDA ${nvcc_version}: their major versions must agree.")
endif()
file(GLOB cudart_directories "${cuda_root}/targets/*/lib" "${STYLECLIP_LIBTORCH}/../nvidia/cu*/lib"
                             "${STYLECLIP_LIBTORCH}/../nvidia/cuda_runtime/lib")
find_file(STYLECLIP_CUDART NAMES "${cudart}" NO_DEFAULT_PATH
          PATHS "${STYLECLIP_LIBTORCH}/lib" ${cudart_directories} "${cuda_root}/lib" "${cuda_root}/lib64")
mark_as_advanced(STYLECLIP_CUDART)
if(NOT STYLECLIP_CUDART)
  message(FATAL_ERROR "Found no ${cudart} beside libtorch or in ${cuda_root}.")
endif()

# ----------------------------------------------------------------------------------------------------------------------
# Kernels to objects; what ptxas says of their registers goes to a text beside each

file(GLOB styleclip_kernels CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cuda/*.cu")
set(kernel_directory "${CMAKE_CURRENT_BINARY_DIR}/cuda")
file(MAKE_DIRECTORY "${kernel_directory}")
set(kernel_objects "")
set(styleclip_ptxas_texts "")
separate_arguments(more_flags UNIX_COMMAND "${STYLECLIP_CUDA_FLAGS}")
foreach(kernel IN LISTS styleclip_kernels)
  cmake_path(GET kernel STEM name)
  set(object "${kernel_directory}/${name}.o")
  set(command "${nvcc}" -c "${kernel}" -o "${object}" -MD -MF "${object}.d" -MT "${object}" -std=c++20 -O3 ${code_flags}
              -ccbin "${CMAKE_CXX_COMPILER}" -Xcompiler=-fPIC,-fvisibility=hidden --threads=${styleclip_jobs}
              --resource-usage ${more_flags})
  list(JOIN command "|" joined)
  add_custom_command(
    OUTPUT "${object}" "${object}.ptxas.txt"
    COMMAND "${CMAKE_COMMAND}" -D "COMMAND=${joined}" -D "LOG=${object}.ptxas.txt"
            -P "${PROJECT_SOURCE_DIR}/cmake/run_logged.cmake"
    DEPENDS "${kernel}" "${PROJECT_SOURCE_DIR}/cmake/run_logged.cmake"
    DEPFILE "${object}.d"
    COMMENT "Compiling cuda/${name}.cu"
    VERBATIM)
  list(APPEND kernel_objects "${object}")
  list(APPEND styleclip_ptxas_texts "${object}.ptxas.txt")
endforeach()

# ----------------------------------------------------------------------------------------------------------------------
# The library

file(GLOB styleclip_registrations CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cuda/*.cpp")
styleclip_compile_together(cuda_registrations cuda register register_gradients register_pictures register_sweep)
add_library(styleclip_cuda SHARED ${styleclip_registrations} ${kernel_objects})
set_source_files_properties(${kernel_objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
styleclip_in_groups(styleclip_cuda)
set_target_properties(styleclip_cuda PROPERTIES PREFIX "" SUFFIX ".so")
target_include_directories(styleclip_cuda SYSTEM PRIVATE "${cuda_root}/include")
# Checks name their file: by its path in the repository and in libtorch, not on the machine that built it.
target_compile_options(styleclip_cuda PRIVATE "-ffile-prefix-map=${PROJECT_SOURCE_DIR}/="
                                              "-ffile-prefix-map=${STYLECLIP_LIBTORCH}/=libtorch/")
target_link_options(styleclip_cuda PRIVATE -Wl,-z,defs -Wl,-z,now -Wl,-z,nodelete -Wl,-z,relro -Wl,--as-needed)
target_link_libraries(styleclip_cuda PRIVATE styleclip_warnings styleclip::torch styleclip::c10_cuda
                                             "${STYLECLIP_CUDART}")

# Registers and spills against the table that is checked in; styleclip_cuda_resources writes the table anew.
find_program(STYLECLIP_NODE node)
mark_as_advanced(STYLECLIP_NODE)
if(STYLECLIP_NODE)
  set(styleclip_check_resources "${STYLECLIP_NODE}" "${PROJECT_SOURCE_DIR}/tools/check-cuda-resources.mjs"
                                --nvcc ${nvcc_version} --table "${PROJECT_SOURCE_DIR}/cuda/resources.json")
  add_custom_target(styleclip_cuda_resources
    COMMAND ${styleclip_check_resources} --update ${styleclip_ptxas_texts}
    DEPENDS ${styleclip_ptxas_texts}
    VERBATIM)
endif()
