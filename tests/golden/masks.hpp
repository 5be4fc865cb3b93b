// The mask of a case, as attend takes it and as reference/ does.
#pragma once

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <attend/mask.hpp>
#include <attend/mask_expressions.hpp>

#include "golden.hpp"

namespace golden {

/// Settings have `prefix` before their names.
class Masks {
 public:
  Masks(const Case& c, const std::string& prefix, const std::string& tensor, Index queries, Index keys)
      : queries_(queries), keys_(keys) {
    if (c.has(prefix + "causal")) {
      causal_ = true;
      corner_ =
          c.text(prefix + "causal") == "top_left" ? attend::Corner::top_left : attend::Corner::bottom_right;
    }
    if (c.has(prefix + "lengths")) {
      std::istringstream numbers(c.text(prefix + "lengths"));
      for (std::string number; std::getline(numbers, number, ',');) lengths_.push_back(std::stoll(number));
    }
    if (c.flag(prefix + "bool")) {
      visible_ = Tensor<std::uint8_t, 2>({queries, keys});
      const Tensor<double, 2> values = data<double, 2>(c.path(tensor), {queries, keys});
      for (std::size_t i = 0; i < values.span().size(); ++i) visible_.span()[i] = values.span()[i] > -0.75;
    }
  }
  attend::Mask mask() const {
    const bool bits = !visible_.empty(), padded = !lengths_.empty();
    const attend::masks::Band causal = causal_ ? attend::causal(corner_) : attend::sliding_window(-1, -1);
    const attend::masks::Lengths lengths = padded ? attend::lengths(lengths_) : attend::prefix(keys_);
    if (bits && (causal_ || padded)) return causal & lengths & attend::boolean(visible_.view());
    if (bits) return attend::boolean(visible_.view());
    if (causal_ && padded) return causal & lengths;
    if (causal_) return causal;
    if (padded) return lengths;
    return {};
  }
  std::function<bool(Index, Index, Index, Index)> function() const {
    return [this](Index b, Index, Index q, Index k) {
      const Index position = q + (corner_ == attend::Corner::bottom_right ? keys_ - queries_ : 0);
      return (!causal_ || k <= position) && (lengths_.empty() || k < lengths_[static_cast<std::size_t>(b)]) &&
             (visible_.empty() || visible_(q, k) != 0);
    };
  }

 private:
  Index queries_, keys_;
  bool causal_ = false;
  attend::Corner corner_ = attend::Corner::top_left;
  std::vector<Index> lengths_;
  Tensor<std::uint8_t, 2> visible_;
};

}  // namespace golden
