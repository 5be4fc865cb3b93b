// What the tests share: random tensors and layers, comparison of bits, texts of errors, scratch folders, and
// where the published data lies.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <attend/core/error.hpp>
#include <attend/core/parameter.hpp>
#include <attend/tensor.hpp>

// Whether the program is built with a sanitizer that has an allocator of its own; GCC says so by one macro
// each, clang by another.
#if defined(__has_feature)
#define ATTEND_TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define ATTEND_TEST_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                           \
    ATTEND_TEST_HAS_FEATURE(address_sanitizer) || ATTEND_TEST_HAS_FEATURE(thread_sanitizer) || \
    ATTEND_TEST_HAS_FEATURE(memory_sanitizer)
#define ATTEND_TEST_SANITIZED 1
#else
#define ATTEND_TEST_SANITIZED 0
#endif

namespace attend_test {

/// For TYPED_TEST_SUITE, where the library promises the same of both.
using Scalars = testing::Types<float, double>;

/// The same numbers on every machine, in [low, high).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  double uniform(double low = -1, double high = 1) { return low + (high - low) * bits() / 2147483648.0; }
  /// In [low, high].
  attend::Index integer(attend::Index low, attend::Index high) {
    return low + static_cast<attend::Index>(bits()) % (high - low + 1);
  }
  bool one_in(attend::Index n) { return integer(0, n - 1) == 0; }
  /// Of mean 0 and deviation 1, in (-6, 6): a sum of twelve.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform(0, 1);
    return sum;
  }

 private:
  std::uint64_t state_;
};

template <class T, int Rank>
attend::Tensor<T, Rank> random_tensor(const attend::Shape<Rank>& shape, std::uint64_t seed = 1,
                                      double low = -1, double high = 1) {
  attend::Tensor<T, Rank> tensor(shape);
  Random random(seed);
  for (T& value : tensor.span()) value = static_cast<T>(random.uniform(low, high));
  return tensor;
}

/// Of deviation `scale`.
template <class T, int Rank>
attend::Tensor<T, Rank> normal_tensor(const attend::Shape<Rank>& shape, std::uint64_t seed = 1,
                                      double scale = 1) {
  attend::Tensor<T, Rank> tensor(shape);
  Random random(seed);
  for (T& value : tensor.span()) value = static_cast<T>(random.normal() * scale);
  return tensor;
}

/// Gives every parameter of a layer random values.
template <class Scalar, class Layer>
void fill_parameters(Layer& layer, std::uint64_t seed = 1, double scale = 0.5) {
  Random random(seed);
  layer.parameters([&](const std::string&, auto parameter) {
    std::vector<Scalar> values(static_cast<std::size_t>(parameter.numel()));
    for (Scalar& value : values) value = static_cast<Scalar>(random.uniform(-scale, scale));
    parameter.assign(0, parameter.rows(), values.data());
  });
}

template <class Scalar, class Layer>
Layer filled(Layer layer, std::uint64_t seed = 1, double scale = 0.5) {
  fill_parameters<Scalar>(layer, seed, scale);
  return layer;
}

/// Parameters of a layer by name; and into a layer those whose names begin with `prefix`, which are taken
/// out.
using Values = std::map<std::string, std::vector<double>>;
template <class Layer>
Values values_of(const Layer& layer) {
  Values values;
  layer.parameters([&]<class T>(const std::string& name, attend::Parameter<const T> parameter) {
    std::vector<T> read(static_cast<std::size_t>(parameter.numel()));
    parameter.copy_to(0, parameter.rows(), read.data());
    values[name].assign(read.begin(), read.end());
  });
  return values;
}
template <class Layer>
Layer with_values(Layer layer, Values& values, const std::string& prefix) {
  layer.parameters([&]<class T>(const std::string& name, attend::Parameter<T> parameter) {
    const auto found = values.find(prefix + name);
    ASSERT_NE(found, values.end()) << prefix + name;
    ASSERT_EQ(static_cast<attend::Index>(found->second.size()), parameter.numel());
    const std::vector<T> read(found->second.begin(), found->second.end());
    parameter.assign(0, parameter.rows(), read.data());
    values.erase(found);
  });
  return layer;
}

/// Whether two tensors or views have the same shape and the same bits.
template <class A, class B>
bool same_bits(const A& a, const B& b) {
  const attend::Tensor<typename A::Scalar, A::rank> x(attend::const_view(a));
  const attend::Tensor<typename B::Scalar, B::rank> y(attend::const_view(b));
  if (x.shape() != y.shape()) return false;
  return x.empty() || std::memcmp(x.data(), y.data(), x.span().size_bytes()) == 0;
}

/// The text of the attend::Error that f leaves by, or nothing where it leaves by none.
template <class F>
std::string error_or_none(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const attend::Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not an attend::Error: " << error.what();
  }
  return {};
}

/// The text of the attend::Error that f leaves by; a failure where it does not.
template <class F>
std::string error_of(F&& f) {
  const std::string text = error_or_none(std::forward<F>(f));
  if (text.empty()) ADD_FAILURE() << "no error";
  return text;
}

/// A folder for the files of one test, which goes with it.
class Folder {
 public:
  Folder() {
    std::random_device random;
    do path = std::filesystem::temp_directory_path() / ("attend_test_" + std::to_string(random()));
    while (!std::filesystem::create_directory(path));
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path / name; }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::filesystem::remove(path / name);  // ext4 waits for the disk where a file is cut and written again
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }

  std::filesystem::path path;
};

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// The files below a folder, as Location takes them from memory.
using Files = std::map<std::string, std::string>;
inline Files files_of(const std::filesystem::path& folder) {
  Files files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[std::filesystem::relative(entry.path(), folder).generic_string()] = bytes_of(entry.path());
  return files;
}

/// A folder of tests/models, made by make_models.py there.
inline std::filesystem::path model_folder(const std::string& name) {
  return std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / name;
}

/// A folder or file of the data beside the project, or an empty path: `if (path.empty()) GTEST_SKIP() <<
/// kUnpublished;`
inline std::filesystem::path published(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(ATTEND_CONFORMANCE_DIR) / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}
constexpr char kUnpublished[] = "needs the conformance data, which is not at " ATTEND_CONFORMANCE_DIR;

/// One of the published files that a reader must accept or reject.
struct Malformed {
  std::filesystem::path file;
  std::string verdict;  // "accept", "reject", or another: either is right
};

/// Those of one folder of published("malformed"), which must be there.
inline std::vector<Malformed> malformed_files(const std::string& folder) {
  const std::filesystem::path root = published("malformed");
  std::vector<Malformed> files;
  std::ifstream manifest(root / "manifest.tsv");
  for (std::string line; std::getline(manifest, line);) {
    std::istringstream fields(line);
    std::string name, verdict;
    std::getline(fields, name, '\t');
    std::getline(fields, verdict, '\t');
    if (!name.starts_with(folder + "/")) continue;
    EXPECT_TRUE(std::filesystem::exists(root / name)) << name;
    files.push_back({root / name, verdict});
  }
  EXPECT_THAT(files, testing::Not(testing::IsEmpty())) << folder;
  return files;
}

}  // namespace attend_test
