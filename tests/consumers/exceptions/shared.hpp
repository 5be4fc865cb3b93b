// What both units do: each uses the same templates, and declares attend's types before it has them.
#include <attend/fwd.hpp>

static double first_of(const attend::Tensor<double, 2>& x);

#include <attend/attend.hpp>

#include <string>

struct Reading {
  double value = 0;
};

// What a program adds to the library's namespace is part of it.
namespace attend {
template <>
inline Parameter<Reading>::Parameter(std::vector<Index> shape, Reading* data, detail::Assigned*)
    : shape_(std::move(shape)), object_(data) {}
inline Index twice(const Tensor<double, 2>& x) { return 2 * x.numel(); }
}  // namespace attend
template <>
inline void attend::Parameter<Reading>::assign(Index, Index, const Reading* values) {
  static_cast<Reading*>(object_)->value = values->value + 1;
}

static double first_of(const attend::Tensor<double, 2>& x) { return x(0, 0); }

static double sum_of_linear() {
  attend::Linear<double> linear({.in_features = 3, .out_features = 2});
  linear.parameters([](const std::string&, auto parameter) {
    const std::vector<double> ones(static_cast<std::size_t>(parameter.numel()), 1.0);
    parameter.assign(0, parameter.rows(), ones.data());
  });
  const attend::Tensor<double, 2> y = linear(attend::Tensor<double, 2>({2, 3}, 1.0));
  Reading reading;
  attend::Parameter<Reading>({1}, &reading).assign(0, 1, &reading);
  return first_of(y) + y(1, 1) + static_cast<double>(attend::twice(y)) + reading.value;
}

/// Whether the handler of errors is this unit's own: without exceptions it is the only thing to be tried.
static bool has_own_handler() {
  const bool free = attend::error_handler() == nullptr;
  attend::error_handler() = [](const char*) {};
  return free;
}
