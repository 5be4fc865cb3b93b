"""Conan 2: conan create .packages/conan (-o "attend/*:header_only=False" and what else is below)."""

import pathlib
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class Attend(ConanFile):
    name = "attend"
    package_type = "library"
    license = "MIT"
    description = "Tensors, attention and transformers in C++20 on Eigen"
    topics = "attention", "transformer", "tensor", "eigen", "header-only"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "header_only": [True, False],  # False: attend::compiled, and attend::models_compiled where there are models
        "shared": [True, False],
        "fPIC": [True, False],
        "with_models": [True, False],  # io, text and model, and the libraries that they need
        "exceptions": [True, False],  # of the compiled libraries; False serves programs that are built without
        "only": ["", "BASELINE", "AVX2", "AVX512"],  # the kernels of one ISA alone
    }
    default_options = {"header_only": True, "shared": False, "fPIC": True, "with_models": True, "exceptions": True, "only": ""}

    def root(self):
        return pathlib.Path(self.recipe_folder, "../..").resolve()

    def set_version(self):
        text = (self.root() / "include/attend/core/version.hpp").read_text()
        self.version = ".".join(re.findall(r"define ATTEND_VERSION_[A-Z]+ (\d+)\n", text))

    def export_sources(self):
        for pattern in "CMakeLists.txt", "LICENSE", ".cmake/*", "include/*":
            copy(self, pattern, self.root(), self.export_sources_folder)

    def configure(self):
        if self.options.header_only:
            self.options.rm_safe("shared")
            self.options.rm_safe("exceptions")
        if self.options.header_only or self.options.shared:
            self.options.rm_safe("fPIC")

    def requirements(self):
        self.requires("eigen/3.4.0", transitive_headers=True)
        if self.options.with_models:
            self.requires("nlohmann_json/3.11.3", transitive_headers=True)
            self.requires("utf8proc/2.9.0", transitive_headers=True)
            self.requires("pcre2/10.42", transitive_headers=True)

    def package_id(self):
        if self.info.options.header_only:
            self.info.settings.clear()

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update({
            "ATTEND_BUILD_TESTS": False, "ATTEND_BUILD_BENCH": False, "ATTEND_BUILD_EXAMPLES": False,
            "ATTEND_BUILD_COMPILED": not self.options.header_only,
            "ATTEND_WITH_MODELS": bool(self.options.with_models),
            "ATTEND_EXCEPTIONS": bool(self.options.get_safe("exceptions", True)),
            "ATTEND_ONLY": str(self.options.only)})
        toolchain.generate()
        # attend's own package finds its libraries by their CMake packages and pkg-config's files.
        from conan.tools.cmake import CMakeDeps
        from conan.tools.gnu import PkgConfigDeps
        CMakeDeps(self).generate()
        PkgConfigDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, pathlib.Path(self.package_folder, "licenses"))

    def package_info(self):
        # The targets are those of attend's own attend-config.cmake, which knows what they need.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["share/cmake/attend"]
        self.cpp_info.libs = []
