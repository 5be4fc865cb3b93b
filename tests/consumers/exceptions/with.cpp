#include "shared.hpp"

#include <cstdio>
#include <cstring>

double sum_without_exceptions();
bool has_own_handler_without_exceptions();

int main() {
  if (sum_of_linear() != 17 || sum_without_exceptions() != 17) return 1;
  try {
    attend::Linear<double> linear({.in_features = 3, .out_features = 2});
    linear(attend::Tensor<double, 2>({2, 4}));
    return 2;
  } catch (const attend::Error& error) {
    if (std::strstr(error.what(), "Linear") == nullptr) return 3;
  }
  if (!has_own_handler() || !has_own_handler_without_exceptions()) return 4;
  std::printf("an Error of a unit with exceptions is caught\n");
}
