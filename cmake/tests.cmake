# The core's tests: one doctest binary over test/cpp/*.cpp, one ctest entry per source file. They go to build/test, never
# to build/Release, which is what gets shipped.

file(GLOB styleclip_test_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/cpp/*.cpp")
set(styleclip_test_main "${PROJECT_SOURCE_DIR}/test/cpp/main.cpp")

styleclip_compile_together(models test/cpp models_archive models_layers models_variants models_weights)
styleclip_compile_together(importing test/cpp importing_clip importing_generators)
styleclip_compile_together(importing_networks test/cpp importing_clip_refusals importing_networks importing_refusals)
styleclip_compile_together(refusals test/cpp checkpoint_bad_input relevance_agreement relevance_shards_refusals)
styleclip_compile_together(files test/cpp checkpoint_files models_stream)
styleclip_compile_together(training test/cpp editing_encoder_training editing_optimizer editing_pivotal_tuning)
styleclip_compile_together(runs test/cpp editing_inversion editing_mapper_training)
styleclip_compile_together(pictures test/cpp editing_synthesis models_files models_parity)
styleclip_compile_together(editing test/cpp editing_global_direction editing_text_and_edit ops_gradients)
styleclip_compile_together(operators test/cpp ops_arguments ops_edit_loss ops_registry ops_resize_8bit)
styleclip_compile_together(sums test/cpp ops_accumulate_directions ops_resample ops_sweep)
styleclip_compile_together(sweeps test/cpp
  relevance_exact relevance_gradient relevance_memory relevance_methods relevance_statistics)
styleclip_compile_together(screening test/cpp
  ops_styled_rows relevance_moments relevance_same_layer relevance_screening relevance_sweep)
styleclip_compile_together(painting test/cpp
  models_noise relevance_bad_input relevance_layout relevance_painter relevance_up_layer)
styleclip_compile_together(runtime test/cpp runtime_core runtime_crew runtime_precision)
add_executable(styleclip_tests ${styleclip_test_sources})
styleclip_in_groups(styleclip_tests)
set_target_properties(styleclip_tests PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/test")
target_include_directories(styleclip_tests PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
target_include_directories(styleclip_tests SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party"
                                                          "${PROJECT_SOURCE_DIR}/test/cpp/third_party")
target_link_libraries(styleclip_tests PRIVATE styleclip_core styleclip::program styleclip_warnings Threads::Threads
                                              ${CMAKE_DL_LIBS})
if(STYLECLIP_PCH)
  target_precompile_headers(styleclip_tests PRIVATE <ATen/ATen.h> <doctest/doctest.h> <string> <vector> <memory>)
  # doctest's implementation is switched on by a macro before its header, so this file has to include it itself.
  set_source_files_properties("${styleclip_test_main}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endif()

# Tests call the core, whose own objects are optimised: at -O1 they compile in 60 % of the time.
target_compile_options(styleclip_tests PRIVATE -O1)
target_link_options(styleclip_tests PRIVATE "-Wl,-rpath,${STYLECLIP_LIBTORCH}/lib")

foreach(source IN LISTS styleclip_test_sources)
  if(NOT source STREQUAL styleclip_test_main)
    get_filename_component(name "${source}" NAME_WE)
    add_test(NAME core.${name} COMMAND styleclip_tests "--source-file=*/test/cpp/${name}.cpp" --no-intro)
    set_tests_properties(core.${name} PROPERTIES TIMEOUT 900 PROCESSORS 2
      # Passive waiting: OpenMP's spinning made a two-second test take minutes where another process held a core.
      ENVIRONMENT "STYLECLIP_TEST_DATA=${PROJECT_SOURCE_DIR}/test/data;OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=2"
      WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/test")
  endif()
endforeach()

# A second copy of the operators, which a test loads beside the first one, as in a program with two versions of the
# package.
add_library(styleclip_second_copy MODULE "${PROJECT_SOURCE_DIR}/test/cpp/second_copy/second_copy.cpp"
            "$<FILTER:$<TARGET_OBJECTS:styleclip_core_objects>,INCLUDE,/src/(ops/|runtime/error[.]cpp)|unity_ops_>")
set_target_properties(styleclip_second_copy PROPERTIES PREFIX "" SUFFIX ".so"
                                                       LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/test")
target_include_directories(styleclip_second_copy PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
target_link_libraries(styleclip_second_copy PRIVATE styleclip_headers styleclip_warnings ${CMAKE_DL_LIBS})
add_dependencies(styleclip_tests styleclip_second_copy)

# Damaged checkpoints by the thousand, and what importers make of them; STYLECLIP_SOAK=1 runs a hundred times more.
file(GLOB styleclip_fuzz_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/fuzz/*.cpp")

function(styleclip_add_fuzzer name)
  add_executable(${name} ${styleclip_fuzz_sources})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/test")
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
  target_include_directories(${name} SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party")
  target_link_libraries(${name} PRIVATE ${ARGN} styleclip::program styleclip_warnings Threads::Threads ${CMAKE_DL_LIBS})
  target_link_options(${name} PRIVATE "-Wl,-rpath,${STYLECLIP_LIBTORCH}/lib")
endfunction()

styleclip_add_fuzzer(styleclip_fuzz styleclip_core)
foreach(corpus checkpoints import)
  add_test(NAME fuzz.${corpus} COMMAND styleclip_fuzz "${PROJECT_SOURCE_DIR}/test/data/${corpus}" --models 1)
  set_tests_properties(fuzz.${corpus} PROPERTIES TIMEOUT 7200 ENVIRONMENT "OMP_NUM_THREADS=1")
endforeach()

# The same under AddressSanitizer and UndefinedBehaviorSanitizer, on demand: the readers and importers alone, without what
# writes archives, so that it compiles in minutes.
#   cmake --build build --target styleclip_fuzz_sanitized
#   build/test/styleclip_fuzz_sanitized test/data/import --models 1
file(GLOB styleclip_reader_sources CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/cpp/src/checkpoint/*.cpp" "${PROJECT_SOURCE_DIR}/cpp/src/importing/*.cpp"
     "${PROJECT_SOURCE_DIR}/cpp/src/models/blueprint*.cpp" "${PROJECT_SOURCE_DIR}/cpp/src/runtime/*.cpp")
list(FILTER styleclip_reader_sources EXCLUDE REGEX "/(import|runtime|atomic_file)\\.cpp$")
foreach(source models/config models/scalar_type models/script_text models/tensors models/zip_file relevance/style_layout)
  list(APPEND styleclip_reader_sources "${PROJECT_SOURCE_DIR}/cpp/src/${source}.cpp")
endforeach()
styleclip_add_fuzzer(styleclip_fuzz_sanitized styleclip_headers styleclip_scripts)
target_sources(styleclip_fuzz_sanitized PRIVATE ${styleclip_reader_sources} $<TARGET_OBJECTS:styleclip_scripts>)
set(styleclip_sanitizers -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
target_compile_definitions(styleclip_fuzz_sanitized PRIVATE STYLECLIP_VERSION="${PROJECT_VERSION}")
target_compile_options(styleclip_fuzz_sanitized PRIVATE ${styleclip_sanitizers})
target_link_options(styleclip_fuzz_sanitized PRIVATE ${styleclip_sanitizers})
set_target_properties(styleclip_fuzz_sanitized PROPERTIES EXCLUDE_FROM_ALL ON)
