# Defines attend::models on top of attend::attend. Included by attend's own CMakeLists.txt and, once installed, by
# attend-config.cmake: so an installed attend does not remember which of the libraries the packager had.
#
# Sets attend_models_missing to what is missing ("" where the target is defined), and attend_models_libraries to what files
# that use them link to, which attend::models_compiled does itself. Arguments go to add_library: GLOBAL in attend's own
# tree, so that a parent of add_subdirectory(attend) sees the target.

macro(attend_add_models)
  set(attend_models_missing "")
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json 3.10 CONFIG QUIET)
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    list(APPEND attend_models_missing "nlohmann_json (nlohmann-json3-dev)")
  endif()
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(ATTEND_UTF8PROC QUIET IMPORTED_TARGET ${ARGN} libutf8proc)
    pkg_check_modules(ATTEND_PCRE2 QUIET IMPORTED_TARGET ${ARGN} libpcre2-8)
  else()
    list(APPEND attend_models_missing "pkg-config (pkg-config)")
  endif()
  if(NOT TARGET PkgConfig::ATTEND_UTF8PROC)
    list(APPEND attend_models_missing "utf8proc (libutf8proc-dev)")
  endif()
  if(NOT TARGET PkgConfig::ATTEND_PCRE2)
    list(APPEND attend_models_missing "PCRE2 (libpcre2-dev)")
  endif()
  list(JOIN attend_models_missing ", " attend_models_missing)

  set(attend_models_libraries PkgConfig::ATTEND_UTF8PROC PkgConfig::ATTEND_PCRE2)
  if(NOT attend_models_missing AND NOT TARGET attend::models)
    add_library(attend::models INTERFACE IMPORTED ${ARGN})
    target_link_libraries(attend::models INTERFACE attend::attend nlohmann_json::nlohmann_json ${attend_models_libraries})
  endif()
endmacro()
