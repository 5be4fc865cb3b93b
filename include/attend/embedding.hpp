// Embedding: rows of a table by id; learned positions are one of these.
#pragma once

#include <algorithm>
#include <concepts>
#include <string>

#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

struct EmbeddingOptions {
  Index num_embeddings = 0;
  Index embedding_dim = 0;
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
    weight_ = Tensor<Scalar, 2>({options.num_embeddings, options.embedding_dim});
    assigned_ = detail::Assigned(options.num_embeddings);
  }

  const EmbeddingOptions& options() const { return options_; }
  TensorView<const Scalar, 2> weight() const { return weight_; }

  void parameters(ParameterVisitor<Scalar> visit) {
    visit("weight",
          Parameter<Scalar>({options_.num_embeddings, options_.embedding_dim}, weight_.data(), &assigned_));
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
      view.for_each([&](const Id& id) {
        std::copy_n(weight_.data() + static_cast<Index>(id) * options_.embedding_dim, options_.embedding_dim,
                    out.row(r++));
      });
    });
  }
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
  EmbeddingOptions options_;
  Tensor<Scalar, 2> weight_;
  detail::Assigned assigned_;
};

}  // namespace attend::inline ATTEND_ABI
