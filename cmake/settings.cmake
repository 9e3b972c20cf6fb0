# How every target is compiled: language level, visibility, warnings, ccache, and no more compilers at a time than the
# machine has memory for (a file that includes libtorch takes up to 2 GB).

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# No target that ships may carry a path of the machine it was built on; tests set their own.
set(CMAKE_SKIP_BUILD_RPATH ON)

find_package(Threads REQUIRED)

add_library(styleclip_warnings INTERFACE)
target_compile_options(styleclip_warnings INTERFACE -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual -Wundef)
if(STYLECLIP_WERROR)
  target_compile_options(styleclip_warnings INTERFACE -Werror)
endif()

find_program(STYLECLIP_CCACHE ccache)
mark_as_advanced(STYLECLIP_CCACHE)
if(STYLECLIP_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                  "${STYLECLIP_CCACHE}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)  # lets ccache see through a precompiled header
  endif()
endif()

cmake_host_system_information(RESULT styleclip_memory QUERY TOTAL_PHYSICAL_MEMORY)
cmake_host_system_information(RESULT styleclip_cores QUERY NUMBER_OF_LOGICAL_CORES)
math(EXPR styleclip_jobs "${styleclip_memory} / 2048")
if(styleclip_jobs GREATER styleclip_cores)
  set(styleclip_jobs ${styleclip_cores})
elseif(styleclip_jobs LESS 1)
  set(styleclip_jobs 1)
endif()
set_property(GLOBAL APPEND PROPERTY JOB_POOLS styleclip_compile=${styleclip_jobs})
set(CMAKE_JOB_POOL_COMPILE styleclip_compile)
