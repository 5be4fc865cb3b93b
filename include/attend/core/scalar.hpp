// What a number type must provide to go through the layers: float, double, or a type of the user's own.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI {
namespace detail {

namespace functions {
using std::exp, std::log, std::sqrt, std::tanh, std::erf;
template <class T>
concept Usual = requires(const T& x) {
  { exp(x) } -> std::convertible_to<T>;
  { log(x) } -> std::convertible_to<T>;
  { sqrt(x) } -> std::convertible_to<T>;
  { tanh(x) } -> std::convertible_to<T>;
};
template <class T>
concept Erf = requires(const T& x) {
  { erf(x) } -> std::convertible_to<T>;
};
}  // namespace functions

template <class T>
concept Arithmetic = std::copyable<T> && std::constructible_from<T, int> &&
    std::constructible_from<T, double> && requires(const T& a, const T& b) {
  { a + b } -> std::convertible_to<T>;
  { a - b } -> std::convertible_to<T>;
  { a* b } -> std::convertible_to<T>;
  { a / b } -> std::convertible_to<T>;
  { -a } -> std::convertible_to<T>;
  { a == b } -> std::convertible_to<bool>;
  { a < b } -> std::convertible_to<bool>;
  { a > b } -> std::convertible_to<bool>;
};

/// Says at the boundary of a layer what its scalar lacks: static_assert(detail::check_scalar<Scalar>()).
template <class T>
constexpr bool check_scalar() {
  static_assert(!std::is_const_v<T> && !std::is_reference_v<T>,
                "attend: a scalar is named without const and &");
  static_assert(
      !std::is_integral_v<T>,
      "attend: integers have no fractions to compute with; copy() the tensor to float or double first");
  static_assert(std::is_integral_v<T> || Arithmetic<T>,
                "attend: a scalar must be copyable, be made from an int and a double, and have + - * / - "
                "(sign) == < >");
  static_assert(std::is_integral_v<T> || std::numeric_limits<T>::has_infinity,
                "attend: a scalar must specialise std::numeric_limits, with has_infinity and infinity(): a "
                "masked score is -infinity");
  static_assert(
      std::is_integral_v<T> || functions::Usual<T>,
      "attend: a scalar must have exp, log, sqrt and tanh in its own namespace (or be one of std's)");
  return true;
}
template <class T>
constexpr bool check_scalar_has_erf() {
  static_assert(functions::Erf<T>,
                "attend: a scalar must have erf in its own namespace to go through activations and the "
                "layers with them");
  return true;
}

}  // namespace detail

/// What layers and functions compute with. Beside these, Eigen::NumTraits for products, and erf for
/// activations.
template <class T>
concept ScalarType = !std::is_integral_v<T> && detail::Arithmetic<T> && detail::functions::Usual<T> &&
                     std::numeric_limits<T>::has_infinity;

}  // namespace attend::inline ATTEND_ABI
