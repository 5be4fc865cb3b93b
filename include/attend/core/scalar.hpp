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
/// erf of the scalar's own namespace, or std's; else by its arithmetic and exp, as autodiff types need it:
/// 2/√π e^(-x²) (x + 2x³/3 + 4x⁵/15 + …), whose terms have one sign, and ±1 where no double is nearer.
template <class T>
T error_function(const T& x) {
  if constexpr (requires { T(erf(x)); }) {
    return T(erf(x));
  } else {
    if (x > T(6)) return T(1);
    if (x < T(-6)) return T(-1);
    const T square = x * x;
    T term = x, sum = x;
    for (int n = 1; n < 150; ++n) {  // enough for 6
      term = term * square * T(2.0 / (2 * n + 1));
      sum = sum + term;
    }
    return T(1.12837916709551257390) * exp(-square) * sum;
  }
}
}  // namespace functions

template <class T>
concept Arithmetic = std::copyable<T> && std::constructible_from<T, int> &&
    std::constructible_from<T, double> && requires(T& sum, const T& a, const T& b) {
  { a + b } -> std::convertible_to<T>;
  { a - b } -> std::convertible_to<T>;
  { a* b } -> std::convertible_to<T>;
  { a / b } -> std::convertible_to<T>;
  { -a } -> std::convertible_to<T>;
  { a == b } -> std::convertible_to<bool>;
  { a < b } -> std::convertible_to<bool>;
  { a > b } -> std::convertible_to<bool>;
  sum += a;
  sum *= a;
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
                "(sign) += *= == < >");
  static_assert(std::is_integral_v<T> || std::numeric_limits<T>::has_infinity,
                "attend: a scalar must specialise std::numeric_limits, with has_infinity and infinity(): a "
                "masked score is -infinity");
  static_assert(
      std::is_integral_v<T> || functions::Usual<T>,
      "attend: a scalar must have exp, log, sqrt and tanh in its own namespace (or be one of std's)");
  return true;
}

}  // namespace detail

/// What layers and functions compute with: float, double, long double, Eigen::half, Eigen's AutoDiffScalar,
/// or a type of yours that is copyable and made from an int and a double; has + - * / - (sign) += *= == < >;
/// exp, log, sqrt and tanh in its namespace, and erf where it has one; and std::numeric_limits with
/// infinity().
template <class T>
concept ScalarType = !std::is_integral_v<T> && detail::Arithmetic<T> && detail::functions::Usual<T> &&
                     std::numeric_limits<T>::has_infinity;

}  // namespace attend::inline ATTEND_ABI
