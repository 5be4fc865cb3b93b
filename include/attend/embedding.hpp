// Embedding: rows of a table by id; learned positions are one of these.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// Named as PyTorch's Embedding.
struct EmbeddingOptions {
  Index num_embeddings = 0;  // rows of the table
  Index embedding_dim = 0;   // features of a row
  WeightType weights = WeightType::float32;
};

/// Parameters: weight [num_embeddings, embedding_dim].
/// https://pytorch.org/docs/stable/generated/torch.nn.Embedding.html
template <class Scalar>
class Embedding {
 public:
  Embedding() = default;
  explicit Embedding(const EmbeddingOptions& options) : options_(options) {
    detail::check_size("Embedding", "num_embeddings", options.num_embeddings);
    detail::check_size("Embedding", "embedding_dim", options.embedding_dim);
    if (plain()) {
      weight_ = Tensor<Scalar, 2>({options.num_embeddings, options.embedding_dim});
    } else if (!std::is_same_v<Scalar, float>) {
      throw_error("Embedding: ", to_string(options.weights), " is for layers of float");
    } else {
      encoded_.resize(static_cast<std::size_t>(
          detail::checked_numel(Shape<2>{options.num_embeddings, static_cast<Index>(row_bytes())})));
    }
    assigned_ = detail::Assigned(options.num_embeddings);
  }

  const EmbeddingOptions& options() const { return options_; }
  /// Empty where it is kept in another type than float.
  TensorView<const Scalar, 2> weight() const { return weight_; }
  /// Row `id` of the weight, an id of the table. out [embedding_dim].
  void copy_row(Index id, Scalar* out) const {
    if constexpr (std::is_same_v<Scalar, float>)
      if (!plain())
        return detail::kernels_of(options_.weights)
            .decode(options_.weights, encoded(id), options_.embedding_dim, out);
    std::copy_n(weight_.data() + id * options_.embedding_dim, options_.embedding_dim, out);
  }

  void parameters(ParameterVisitor<Scalar> visit) {
    const std::vector<Index> shape{options_.num_embeddings, options_.embedding_dim};
    if (plain()) return visit("weight", Parameter<Scalar>(shape, weight_.data(), &assigned_));
    Parameter<Scalar> parameter(
        shape, this,
        [](void* table, Index begin, Index end, const Scalar* rows) {
          static_cast<Embedding*>(table)->assign(begin, end, rows);
        },
        [](const void* table, Index begin, Index end, Scalar* rows) {
          const Embedding& from = *static_cast<const Embedding*>(table);
          for (Index i = begin; i < end; ++i, rows += from.options_.embedding_dim) from.copy_row(i, rows);
        },
        &assigned_);
    parameter.set_encoded(
        {options_.weights,
         [](void* table, Index begin, Index end, const std::byte* rows) {
           Embedding& to = *static_cast<Embedding*>(table);
           std::copy_n(rows, static_cast<std::size_t>(end - begin) * to.row_bytes(), to.encoded(begin));
         },
         [](const void* table, Index begin, Index end, std::byte* rows) {
           const Embedding& from = *static_cast<const Embedding*>(table);
           std::copy_n(from.encoded(begin), static_cast<std::size_t>(end - begin) * from.row_bytes(), rows);
         }});
    visit("weight", std::move(parameter));
  }
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether the weight has its values; forward takes none less.
  bool assigned() const { return assigned_.all(); }

  /// out[…] = weight[ids[…]]. ids [...], of integers -> out [..., embedding_dim]. Error where an id is not in
  /// [0, num_embeddings).
  template <TensorLike Ids>
  requires std::integral<typename Ids::Scalar>
  void forward(Context& context, const Ids& ids, const Rows<Scalar>& out) const {
    using Id = typename Ids::Scalar;
    const TensorView<const Id, Ids::rank> view = const_view(ids);
    detail::check_assigned(context, "Embedding", *this);
    out.check_output("Embedding", ids.shape(), options_.embedding_dim);
    detail::check_apart(context, "Embedding", {"out", out.view()}, {{"ids", view}, {"the weight", weight()}});
    if (context.measuring()) return;
    const LayerTimer timer(context, "Embedding", ids.shape(), out.shape());
    view.for_each([&](const Id& id) {
      if (std::cmp_less(id, 0) || std::cmp_greater_equal(id, options_.num_embeddings))
        throw_error("Embedding: id ", id, " is not in [0, ", options_.num_embeddings, ")");
    });
    context.parallel(1, 1, [&](Index, int) {
      Index r = 0;
      view.for_each([&](const Id& id) { copy_row(static_cast<Index>(id), out.row(r++)); });
    });
  }
  /// The rows of ids, as a new tensor [ids' shape, embedding_dim]. Error where an id is no row.
  template <TensorLike Ids>
  Tensor<Scalar, Ids::rank + 1> operator()(const Ids& ids) const {
    Shape<Ids::rank + 1> shape;
    std::copy(ids.shape().begin(), ids.shape().end(), shape.begin());
    shape[Ids::rank] = options_.embedding_dim;
    Tensor<Scalar, Ids::rank + 1> out(shape);
    forward(default_context(), ids, out);
    return out;
  }

 private:
  bool plain() const { return options_.weights == WeightType::float32; }
  std::size_t row_bytes() const {
    return detail::kernels_of(options_.weights).row_bytes(options_.weights, options_.embedding_dim);
  }
  const std::byte* encoded(Index id) const {
    return encoded_.data() + static_cast<std::size_t>(id) * row_bytes();
  }
  std::byte* encoded(Index id) { return encoded_.data() + static_cast<std::size_t>(id) * row_bytes(); }
  void assign(Index begin, Index end, const Scalar* rows) {
    if constexpr (std::is_same_v<Scalar, float>)
      for (Index i = begin; i < end; ++i, rows += options_.embedding_dim)
        if (!detail::kernels_of(options_.weights)
                 .encode(options_.weights, rows, options_.embedding_dim, encoded(i)))
          throw_error("Embedding: row ", i, " has a value that ", to_string(options_.weights),
                      " cannot hold");
  }

  EmbeddingOptions options_;
  Tensor<Scalar, 2> weight_;
  std::vector<std::byte, detail::Allocator<std::byte>> encoded_;  // its rows, of another type than float
  detail::Assigned assigned_;
};

}  // namespace attend::inline ATTEND_ABI
