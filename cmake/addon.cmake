# The addon and its preload library, built through cmake-js, which says where Node-API's headers are (CMAKE_JS_INC) and
# puts shared libraries into build/Release. That folder must hold exactly one .node file: prebuildify ships the first.

file(GLOB styleclip_binding_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/binding/*.cpp")
set(node_definitions NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS_ALL NODE_ADDON_API_DISABLE_DEPRECATED
                     NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)

# Node unmaps an addon when the last worker that loaded it ends, with its threads still running: nodelete. A libtorch
# that lacks a symbol must fail to load, which can be caught, and not end the process in the first call: now.
set(node_link_options -Wl,-z,now -Wl,-z,nodelete -Wl,-z,relro -Wl,--as-needed)

add_library(styleclip_preload SHARED "${PROJECT_SOURCE_DIR}/binding/preload/preload.cpp")
set_target_properties(styleclip_preload PROPERTIES PREFIX "")
target_include_directories(styleclip_preload SYSTEM PRIVATE ${CMAKE_JS_INC})
target_compile_definitions(styleclip_preload PRIVATE NAPI_VERSION=9)
target_link_options(styleclip_preload PRIVATE ${node_link_options})
target_link_libraries(styleclip_preload PRIVATE styleclip_warnings ${CMAKE_DL_LIBS} ${CMAKE_JS_LIB})

if(styleclip_binding_sources)
  # In groups and without a precompiled header, which takes longer to make than four groups gain by it.
  styleclip_compile_together(binding_mappers binding convert environment errors importing mapper_training)
  styleclip_compile_together(binding_encoders binding addon archives cancel encoder_training encoders)
  styleclip_compile_together(binding_inverting binding generator inverting mailbox model process relevance)
  styleclip_compile_together(binding_optimizing binding device_thread editing leaves optimizing sharding test_hooks)
  add_library(styleclip SHARED ${styleclip_binding_sources} ${CMAKE_JS_SRC})
  styleclip_in_groups(styleclip)
  set_target_properties(styleclip PROPERTIES PREFIX "" SUFFIX ".node")
  target_include_directories(styleclip PRIVATE "${PROJECT_SOURCE_DIR}/binding" "${PROJECT_SOURCE_DIR}/cpp/src")
  target_include_directories(styleclip SYSTEM PRIVATE ${CMAKE_JS_INC} "${PROJECT_SOURCE_DIR}/cpp/third_party")
  target_compile_definitions(styleclip PRIVATE ${node_definitions} STYLECLIP_VERSION="${PROJECT_VERSION}"
                                               STYLECLIP_BUILT_TORCH="${styleclip_torch_version}")
  target_link_options(styleclip PRIVATE ${node_link_options})
  target_link_libraries(styleclip PRIVATE styleclip_core styleclip_warnings Threads::Threads ${CMAKE_JS_LIB})

  # The loader compares this with the libtorch it finds, before it opens anything.
  set(build_record "${CMAKE_CURRENT_BINARY_DIR}/styleclip.build.json")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/styleclip.build.json.in" "${build_record}" @ONLY)
  add_custom_command(TARGET styleclip POST_BUILD
    COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${build_record}" "$<TARGET_FILE_DIR:styleclip>"
    VERBATIM)
endif()

# What a program needs at run time, without tests and plug-ins.
add_custom_target(styleclip_node DEPENDS styleclip_preload)
if(TARGET styleclip)
  add_dependencies(styleclip_node styleclip)
endif()
