// A hash whose collisions no file can prepare.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// A number that nobody knows in advance. Each table draws its own and keeps it, so that it means the same in
/// every library that looks into it.
inline std::uint64_t draw_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

/// The upper half of the sum of key(i) * part(i), with keys that follow from the seed: whatever two sequences
/// of parts are, they have the same hash for one in 2^32 keys (multilinear hashing; D. Lemire and O. Kaser,
/// Strongly universal string hashing is fast, 2014). So nothing in a file makes a table slow. The hash of a
/// sequence is known of all its beginnings, too.
class SecretHash {
 public:
  explicit SecretHash(std::uint64_t seed) : seed_(seed) {}
  SecretHash(std::uint64_t seed, std::string_view text) : seed_(seed) {
    for (char c : text) add(static_cast<unsigned char>(c));
  }

  void add(std::uint32_t part) { sum_ += key(++count_) * (std::uint64_t{part} + 1); }
  /// One of so many places, for less than 2^32 of them.
  std::size_t slot(std::size_t places) const { return (sum_ >> 32) * places >> 32; }

 private:
  // The i-th number of SplitMix64.
  std::uint64_t key(std::uint64_t i) const {
    std::uint64_t z = seed_ + i * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }

  std::uint64_t seed_, sum_ = 0, count_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::text::detail
