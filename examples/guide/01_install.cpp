// # Install
//
// attend needs Eigen 3.4, C++20, and GCC 12, clang 14, or newer. Each of these gives the target attend::attend.
//
// CMake, as a folder:
//     add_subdirectory(attend)
// CMake, FetchContent:
//     FetchContent_Declare(attend GIT_REPOSITORY … GIT_TAG v0.2.0)
//     FetchContent_MakeAvailable(attend)
// CMake, installed, and then find_package(attend REQUIRED) with CMAKE_PREFIX_PATH=~/.local:
//     cmake -S attend -B attend-build -DATTEND_BUILD_TESTS=OFF -DATTEND_BUILD_BENCH=OFF -DATTEND_BUILD_EXAMPLES=OFF
//     cmake --install attend-build --prefix ~/.local
// Conan 2 (pip install conan), once beside a clone of attend:
//     conan profile detect
//     conan create attend/.packages/conan -tf= --build=missing -s compiler.cppstd=20
//   then conanfile.txt of your project:
//     [requires]
//     attend/0.2.0
//     [generators]
//     CMakeDeps
//     CMakeToolchain
//   and, with find_package(attend REQUIRED) in its CMakeLists.txt:
//     conan install . --output-folder=build -s compiler.cppstd=20
//     cmake -S . -B build -DCMAKE_TOOLCHAIN_FILE=build/conan_toolchain.cmake -DCMAKE_BUILD_TYPE=Release
//   Libraries that the system has are not fetched where the profile (conan profile path default) names them; without a
//   network, -nr goes behind both lines:
//     [platform_requires]
//     eigen/3.4.0
//     nlohmann_json/3.11.3
//     utf8proc/2.9.0
//     pcre2/10.42
// vcpkg:
//     vcpkg install attend --overlay-ports=attend/.packages/vcpkg
// Meson: attend.wrap goes to subprojects/, meson.build and meson_options.txt beside it to subprojects/packagefiles/attend/:
//     dependency('attend')
// Debian's packages, in a build folder:
//     cpack -G DEB && apt-get install ./attend-dev_0.2.0_all.deb
// pkg-config, once it is installed:
//     g++ -std=c++20 -O2 main.cpp $(pkg-config --cflags --libs attend)
// Nothing at all:
//     g++ -std=c++20 -O2 -Iattend/include -I/usr/include/eigen3 main.cpp -pthread
//
// Header-only, a file with an attention compiles for some fifteen seconds. attend::compiled has the layers of float in a
// library, which takes most of that away, and code is the same: -DATTEND_BUILD_COMPILED=ON where it is installed, and with
// Conan -o "attend/*:header_only=False".
//
// attend::models, and attend::models_compiled, add files, tokenizers and real models, and need nlohmann/json, utf8proc and
// PCRE2. Options of CMake: ATTEND_WITH_MODELS=OFF, ATTEND_EXCEPTIONS=OFF (a library for programs of -fno-exceptions),
// ATTEND_ONLY=AVX2 (the kernels of one ISA, which compile faster), BUILD_SHARED_LIBS=ON.
#include <cstdio>

#include <attend/attend.hpp>

int main() {
  static_assert(ATTEND_VERSION_NUMBER >= 200);
  std::puts("attend " ATTEND_VERSION);
}
// Prints:
// attend 0.2.0
