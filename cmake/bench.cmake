# The core's benchmarks, without Node: one program a question (bench/<question>/<question>_bench.cpp), in build/bench.
file(GLOB styleclip_bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*/*_bench.cpp")
foreach(source IN LISTS styleclip_bench_sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/bench")
  target_include_directories(${name} SYSTEM PRIVATE "${PROJECT_SOURCE_DIR}/cpp/third_party")
  target_link_libraries(${name} PRIVATE styleclip_core styleclip::program styleclip_warnings Threads::Threads
                                        ${CMAKE_DL_LIBS})
  target_link_options(${name} PRIVATE "-Wl,-rpath,${STYLECLIP_LIBTORCH}/lib")
endforeach()
