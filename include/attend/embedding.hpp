// Embedding: rows of a table by id; learned positions are one of these.
#pragma once

#include <algorithm>
#include <concepts>
#include <string>

#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/tensor.hpp>

namespace attend {

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
  explicit Embedding(const EmbeddingOptions& options)
      : options_(options), weight_({options.num_embeddings, options.embedding_dim}) {}

  const EmbeddingOptions& options() const { return options_; }
  TensorView<const Scalar, 2> weight() const { return weight_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    visit("weight", Parameter<Scalar>({options_.num_embeddings, options_.embedding_dim}, weight_.data()));
  }

  /// out[…] = weight[ids[…]], or where `add`, out[…] += it. ids [...] -> out [..., embedding_dim].
  /// Error where an id is not in [0, num_embeddings).
  template <std::integral Id, int Rank>
  void forward(Context& context, TensorView<const Id, Rank> ids, TensorView<Scalar, Rank + 1> out, bool add = false) const {
    Shape<Rank + 1> expected;
    std::copy(ids.shape().begin(), ids.shape().end(), expected.begin());
    expected[Rank] = options_.embedding_dim;
    check_shape("Embedding (output)", expected, out.shape());
    if (context.measuring() || out.empty()) return;
    ids.for_each([&](const Id& id) {
      if (std::cmp_less(id, 0) || std::cmp_greater_equal(id, options_.num_embeddings))
        fail("Embedding: id " + std::to_string(id) + " is not in [0, " + std::to_string(options_.num_embeddings) + ")");
    });
    const TensorView<Scalar, 2> rows = out.rows();
    context.parallel(1, 1, [&](Index, int) {
      Index r = 0;
      ids.for_each([&](const Id& id) {
        const Scalar* from = weight_.data() + static_cast<Index>(id) * options_.embedding_dim;
        for (Index e = 0; e < options_.embedding_dim; ++e) rows(r, e) = add ? rows(r, e) + from[e] : from[e];
        ++r;
      });
    });
  }
  template <TensorLike Ids>
  Tensor<Scalar, Ids::rank + 1> operator()(const Ids& ids) const {
    Shape<Ids::rank + 1> shape;
    std::copy(ids.shape().begin(), ids.shape().end(), shape.begin());
    shape[Ids::rank] = options_.embedding_dim;
    Tensor<Scalar, Ids::rank + 1> out(shape);
    forward(default_context(), const_view(ids), out.view());
    return out;
  }

 private:
  EmbeddingOptions options_;
  Tensor<Scalar, 2> weight_;
};

}  // namespace attend
