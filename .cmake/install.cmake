# cmake --install: headers, attend::compiled, the CMake package and the pkg-config files. All of them are relocatable.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/attend" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inl")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

target_include_directories(attend INTERFACE "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
install(TARGETS attend EXPORT attend-targets)
set(attend_architecture ARCH_INDEPENDENT)
if(ATTEND_BUILD_COMPILED)
  install(TARGETS attend_compiled EXPORT attend-targets)
  if(TARGET attend_models_compiled)
    install(TARGETS attend_models_compiled EXPORT attend-targets)
  endif()
  set(attend_architecture "")
endif()
set(attend_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/attend")
install(EXPORT attend-targets NAMESPACE attend:: DESTINATION "${attend_cmake_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/.cmake/attend-config.cmake.in"
                              "${PROJECT_BINARY_DIR}/attend-config.cmake" INSTALL_DESTINATION "${attend_cmake_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/attend-config-version.cmake" COMPATIBILITY SameMinorVersion
                                 ${attend_architecture})
install(FILES "${PROJECT_BINARY_DIR}/attend-config.cmake" "${PROJECT_BINARY_DIR}/attend-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/.cmake/attend-models.cmake" DESTINATION "${attend_cmake_dir}")

# The prefix is written as seen from the .pc file, because cmake --install --prefix may change it.
set(attend_pc_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
file(RELATIVE_PATH attend_pc_to_prefix "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH attend_prefix_to_include "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
file(RELATIVE_PATH attend_prefix_to_lib "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
set(attend_pc_names attend attend-models)
if(ATTEND_BUILD_COMPILED)
  list(APPEND attend_pc_names attend-compiled)
  if(TARGET attend_models_compiled)
    list(APPEND attend_pc_names attend-models-compiled)
  endif()
endif()
foreach(name IN LISTS attend_pc_names)
  configure_file("${PROJECT_SOURCE_DIR}/.cmake/${name}.pc.in" "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${attend_pc_dir}")
endforeach()
