# Configures, builds and runs the consumer project CONSUMER in BINARY, as a user would: with the compiler CXX, against
# the clone in SOURCE or what was installed from it in STAGE. CONSUMER `install` fills STAGE from the build folder BUILD.
# NIGHTLY is for what takes long.
# Two attempts share nothing: BINARY and STAGE are emptied first, or a header that is gone would still be found.
cmake_minimum_required(VERSION 3.22)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " line)
    message(FATAL_ERROR "${CONSUMER}: status ${status} from: ${line}")
  endif()
endfunction()

set(project "${SOURCE}/tests/consumers/${CONSUMER}")
file(REMOVE_RECURSE "${BINARY}")
file(MAKE_DIRECTORY "${BINARY}")

if(CONSUMER STREQUAL "install")
  file(REMOVE_RECURSE "${STAGE}")
  run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${STAGE}")
elseif(CONSUMER STREQUAL "pkg_config")
  # A project without CMake: GNU make and the .pc files.
  find_program(make NAMES gmake make REQUIRED)
  set(ENV{PKG_CONFIG_PATH} "${STAGE}/share/pkgconfig")
  run("${make}" -C "${project}" "CXX=${CXX}" "OUT=${BINARY}" run)
else()
  run("${CMAKE_COMMAND}" -S "${project}" -B "${BINARY}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX}"
      "-DCMAKE_PREFIX_PATH=${STAGE}" "-DATTEND_CLONE=${SOURCE}" "-DNIGHTLY=${NIGHTLY}")
  run("${CMAKE_COMMAND}" --build "${BINARY}")
  file(GLOB programs "${BINARY}/run_*")
  if(NOT programs AND (NIGHTLY OR NOT CONSUMER STREQUAL "werror"))
    message(FATAL_ERROR "${CONSUMER}: nothing to run")
  endif()
  foreach(program IN LISTS programs)
    run("${program}")
  endforeach()
endif()
