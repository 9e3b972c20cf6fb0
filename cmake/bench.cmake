# styleclip_bench: the core's benchmarks without Node (bench/program), in build/bench. It times parts that are not public,
# so it sees cpp/src.
file(GLOB styleclip_bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/program/*.cpp")
# As the addon: in groups, without a precompiled header.
styleclip_compile_together(bench_methods bench/program agreement contenders methods models screened)
styleclip_compile_together(bench_stages bench/program arguments main operators stages timing)
styleclip_compile_together(bench_turns bench/program floors optimizing scaling turns)
add_executable(styleclip_bench ${styleclip_bench_sources})
styleclip_in_groups(styleclip_bench)
set_target_properties(styleclip_bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/bench")
target_include_directories(styleclip_bench PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src")
target_include_directories(styleclip_bench SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party")
target_link_libraries(styleclip_bench PRIVATE styleclip_core styleclip::program styleclip_warnings Threads::Threads
                                              ${CMAKE_DL_LIBS})
target_link_options(styleclip_bench PRIVATE "-Wl,-rpath,${STYLECLIP_LIBTORCH}/lib")

# That it compiles, runs and agrees with the reference, on a few channels.
if(STYLECLIP_TESTS)
  set(few --generator "${PROJECT_SOURCE_DIR}/models/cats/generator.pt" --clip "${PROJECT_SOURCE_DIR}/models/cats/clip.pt"
          --samples 500 --channels 40 --turns 1)
  add_test(NAME bench.methods COMMAND styleclip_bench methods ${few} --images 1 --methods reference,exact)
  add_test(NAME bench.screened COMMAND styleclip_bench screened ${few} --keep 5 --images 4 --exact-images 4 --directions 1)
  set_tests_properties(bench.methods bench.screened PROPERTIES TIMEOUT 600 PROCESSORS 2
                       ENVIRONMENT "OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=2")
endif()
