#!/usr/bin/env python3
"""Uses attend's packages as their tools do: a program is built by what each of them installs, and run.

    packages.py --source=CLONE --binary=DIR PACKAGE      conan, meson, vcpkg, deb, git, variant or versions

Exit code 77 where a tool is missing: it was not tried. Conan takes the libraries below from the system, and of vcpkg the
port's file runs on functions that do what the real ones are documented to do: neither asks the network.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys


def run(*arguments, **options):
    print("$", *arguments, flush=True)
    status = subprocess.run([str(a) for a in arguments], **options).returncode
    if status != 0:
        sys.exit(f"status {status}")


def tool(name):
    """The path of a program, which an environment variable may give: CONAN=venv/bin/conan."""
    found = os.environ.get(name.upper()) or (f"/usr/bin/{name}" if os.access(f"/usr/bin/{name}", os.X_OK) else shutil.which(name))
    if found is None:
        print(f"skipped: there is no {name}")
        sys.exit(77)
    return found


def program(folder, find, link, *settings, source="version.cpp"):
    """Builds and runs one of tests/consumers/*.cpp by CMake."""
    folder.mkdir()
    shutil.copy(options_.source / "tests/consumers" / source, folder / "main.cpp")
    (folder / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.22)\nproject(app CXX)\n{find}\n"
        f"add_executable(app main.cpp)\ntarget_link_libraries(app PRIVATE {link})\n")
    run("cmake", "-S", folder, "-B", folder / "build", *settings)
    run("cmake", "--build", folder / "build")
    run(folder / "build/app")


def conan(work):
    """The header-only recipe and its test_package; with --all the compiled one, too."""
    conan = tool("conan")
    os.environ["CONAN_HOME"] = str(work / "home")
    run(conan, "profile", "detect")
    profile = work / "profile"
    profile.write_text("include(default)\n[settings]\ncompiler.cppstd=20\n[platform_requires]\neigen/3.4.0\nnlohmann_json/3.11.3\n"
                       "utf8proc/2.9.0\npcre2/10.42\n")
    ways = [["only=BASELINE"]]
    if options_.all:
        ways += [["header_only=False", "only=BASELINE", "shared=True"], ["header_only=False", "with_models=False", "exceptions=False"]]
    for way in ways:
        create = [conan, "create", options_.source / ".packages/conan", "-nr", "-pr", profile,
                  "-c", f"tools.cmake.cmake_layout:test_folder={work}/test"]
        for option in way:
            create += ["-o", f"attend/*:{option}"]
        if "exceptions=False" in way:
            create += ["-c", "tools.build:cxxflags=['-fno-exceptions']"]
        run(*create)


def meson(work):
    """A project with attend as a subproject; its clone is what the wrap would fetch."""
    meson = tool("meson")
    clone = work / "subprojects/attend"
    clone.mkdir(parents=True)
    for entry in "include", ".cmake", "LICENSE":
        (clone / entry).symlink_to(options_.source / entry)
    for file in "meson.build", "meson_options.txt":
        shutil.copy(options_.source / ".packages/meson" / file, clone)
    shutil.copy(options_.source / "tests/consumers/layers.cpp", work / "main.cpp")
    shutil.copy(options_.source / "tests/consumers/models.cpp", work / "models.cpp")
    project = """project('app', 'cpp', default_options: ['cpp_std=c++20', 'optimization=0'])
subproject('attend', default_options: ['only=BASELINE', 'models=enabled', 'compiled=COMPILED'])
executable('app', 'main.cpp', dependencies: dependency('attend'))
executable('models', 'models.cpp', dependencies: dependency('attend-models'))
"""
    if options_.all:
        project = project.replace("dependency('attend')", "dependency('attend-compiled')")
    (work / "meson.build").write_text(project.replace("COMPILED", str(options_.all).lower()))
    run(meson, "setup", work / "build", work)
    run(meson, "compile", "-C", work / "build")
    run(work / "build/app")
    run(work / "build/models")


VCPKG = """
cmake_policy(VERSION 3.22)
include("${FUNCTIONS}")
include("${PORT_FILE}")
"""
VCPKG_FUNCTIONS = """
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_check_features)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "OUT_FEATURE_OPTIONS" "FEATURES")
  while(in_FEATURES)
    list(POP_FRONT in_FEATURES feature option)
    if(feature IN_LIST FEATURES)
      list(APPEND options "-D${option}=ON")
    else()
      list(APPEND options "-D${option}=OFF")
    endif()
  endwhile()
  set(${in_OUT_FEATURE_OPTIONS} "${options}" PARENT_SCOPE)
endfunction()
function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "SOURCE_PATH" "OPTIONS")
  run("${CMAKE_COMMAND}" -S "${in_SOURCE_PATH}" -B "${BUILD}" "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${in_OPTIONS})
endfunction()
function(vcpkg_cmake_install)
  run("${CMAKE_COMMAND}" --build "${BUILD}" --target install)
endfunction()
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "CONFIG_PATH" "")
  if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/${in_CONFIG_PATH}/attend-config.cmake")
    message(FATAL_ERROR "no CMake package in ${in_CONFIG_PATH}")
  endif()
  file(COPY "${CURRENT_PACKAGES_DIR}/${in_CONFIG_PATH}/" DESTINATION "${CURRENT_PACKAGES_DIR}/share/attend")
  file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake")
  file(READ "${CURRENT_PACKAGES_DIR}/share/attend/attend-targets.cmake" targets)
  string(REPLACE [[get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)]]
    [[get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)
get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)]] targets "${targets}")
  file(WRITE "${CURRENT_PACKAGES_DIR}/share/attend/attend-targets.cmake" "${targets}")
  file(READ "${CURRENT_PACKAGES_DIR}/share/attend/attend-config.cmake" config)
  string(REPLACE "/../../../" "/../../" config "${config}")
  file(WRITE "${CURRENT_PACKAGES_DIR}/share/attend/attend-config.cmake" "${config}")
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "" "FILE_LIST")
  file(COPY ${in_FILE_LIST} DESTINATION "${CURRENT_PACKAGES_DIR}/share/attend")
endfunction()
"""


def vcpkg(work):
    (work / "functions.cmake").write_text(VCPKG_FUNCTIONS)
    (work / "vcpkg.cmake").write_text(VCPKG)
    run("cmake", f"-DFUNCTIONS={work}/functions.cmake", f"-DPORT_FILE={options_.source}/.packages/vcpkg/portfile.cmake",
        "-DFEATURES=models", "-DPORT=attend", f"-DBUILD={work}/port", f"-DCURRENT_PACKAGES_DIR={work}/installed", "-P", work / "vcpkg.cmake")
    program(work / "app", f'set(attend_DIR "{work}/installed/share/attend")\nfind_package(attend CONFIG REQUIRED COMPONENTS models)',
            "attend::attend")


def deb(work):
    """cpack's .deb, unpacked into a bare folder; its .pc file is moved with it."""
    dpkg = tool("dpkg")
    build = work / "build"
    run("cmake", "-S", options_.source, "-B", build, "-DATTEND_BUILD_TESTS=OFF", "-DATTEND_BUILD_BENCH=OFF", "-DATTEND_BUILD_EXAMPLES=OFF")
    run("cmake", "--build", build)
    run("cpack", "-G", "DEB", cwd=build)
    (package,) = build.glob("attend-dev_*_all.deb")
    run(dpkg, "--info", package)
    run(dpkg, "-x", package, work / "root")
    os.environ["PKG_CONFIG_PATH"] = str(work / "root/usr/share/pkgconfig")
    program(work / "app", f'set(CMAKE_PREFIX_PATH "{work}/root/usr")\nfind_package(attend REQUIRED)', "attend::attend")
    run("pkg-config", "--cflags", "attend")


def variant(work):
    """What the other consumers leave out: a library of one ISA, shared, without models and exceptions, whose prefix has been moved."""
    build = work / "build"
    run("cmake", "-S", options_.source, "-B", build, "-DATTEND_BUILD_TESTS=OFF", "-DATTEND_BUILD_BENCH=OFF", "-DATTEND_BUILD_EXAMPLES=OFF",
        "-DATTEND_BUILD_COMPILED=ON", "-DBUILD_SHARED_LIBS=ON", "-DATTEND_WITH_MODELS=OFF", "-DATTEND_EXCEPTIONS=OFF", "-DATTEND_ONLY=BASELINE",
        "-DCMAKE_BUILD_TYPE=Debug")
    run("cmake", "--build", build)
    run("cmake", "--install", build, "--prefix", work / "installed")
    shutil.rmtree(build)
    (work / "installed").rename(work / "moved")
    for name in "attend", "attend-compiled":
        text = subprocess.run(["pkg-config", "--cflags", "--libs", name], capture_output=True, text=True, check=True,
                              env={**os.environ, "PKG_CONFIG_PATH": str(work / "moved/share/pkgconfig")}).stdout
        if f"{work}/moved" not in text or "-DATTEND_ONLY_BASELINE" not in text:
            sys.exit(f"pkg-config {name}: {text}")
    settings = [f"-DCMAKE_PREFIX_PATH={work}/moved", "-DCMAKE_CXX_FLAGS=-fno-exceptions"]
    find = "find_package(attend REQUIRED COMPONENTS compiled)"
    program(work / "app", find, "attend::compiled", *settings, source="layers.cpp")
    (work / "app/CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.22)\nproject(app CXX)\nfind_package(attend REQUIRED COMPONENTS models)\n")
    refused = subprocess.run(["cmake", "-S", work / "app", "-B", work / "refused", *settings], capture_output=True, text=True)
    if refused.returncode == 0 or "ATTEND_WITH_MODELS" not in refused.stderr:
        sys.exit(f"attend::models was found where it was not installed, or the error does not say why: {refused.stderr}")


def git(work):
    """FetchContent by GIT_REPOSITORY, of the clone's own commit."""
    head = subprocess.run([tool("git"), "-C", options_.source, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode != 0:
        print(f"skipped: {head.stderr}")
        sys.exit(77)
    program(work / "app", "include(FetchContent)\n"
            f"FetchContent_Declare(attend GIT_REPOSITORY file://{options_.source} GIT_TAG {head.stdout.strip()})\n"
            "FetchContent_MakeAvailable(attend)", "attend::attend")


def versions(_):
    """All that name the version name the same one, and the changelog begins with it."""
    text = (options_.source / "include/attend/core/version.hpp").read_text()
    version = ".".join(re.findall(r"define ATTEND_VERSION_[A-Z]+ (\d+)\n", text))
    packages = options_.source / ".packages"
    found = {
        "meson.build": re.search(r"version: '([\d.]+)'", (packages / "meson/meson.build").read_text())[1],
        "attend.wrap": re.search(r"revision = v([\d.]+)", (packages / "meson/attend.wrap").read_text())[1],
        "vcpkg.json": json.loads((packages / "vcpkg/vcpkg.json").read_text())["version-semver"],
        "CHANGELOG.md": re.search(r"^## ([\d.]+)", (options_.source / ".github/CHANGELOG.md").read_text(), re.MULTILINE)[1],
    }
    for file, other in found.items():
        if other != version:
            sys.exit(f"{file} is of version {other}, include/attend/core/version.hpp of {version}")


PACKAGES = [conan, meson, vcpkg, deb, git, variant, versions]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in "source", "binary":
    parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
parser.add_argument("--all", action="store_true", help="the compiled variants, too, which take minutes")
parser.add_argument("package", choices=[package.__name__ for package in PACKAGES])
options_ = parser.parse_args()
options_.source = options_.source.resolve()
folder = options_.binary.resolve()
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
next(package for package in PACKAGES if package.__name__ == options_.package)(folder)
