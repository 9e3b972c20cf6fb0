# For C++ programs: libstyleclip.a, the public headers, and a CMake package. The package finds libtorch by the same rule as
# this build (STYLECLIP_LIBTORCH), and the library must be used with the libtorch minor version it was built with.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(styleclip_static STATIC)
set_target_properties(styleclip_static PROPERTIES OUTPUT_NAME styleclip LINKER_LANGUAGE CXX)
target_link_libraries(styleclip_static PRIVATE styleclip_core)

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/styleclip")
install(FILES "$<TARGET_FILE:styleclip_static>" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/styleclip" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/styleclip-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/styleclip-config.cmake" INSTALL_DESTINATION "${package}"
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/styleclip-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/styleclip-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/styleclip-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/libtorch.cmake"
        DESTINATION "${package}")
