// libFuzzer: attention over tensors and caches of random shapes, strides, masks and threads, against
// reference/.
//
// The bytes are a program. A call of attention has to give the bits of reference/exact.hpp, or to leave by an
// attend::Error; a cache is held against a plain list of its tokens after each of its operations.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <attend/kv_cache.hpp>
#include <attend/reference/exact.hpp>
#include <attend/scaled_dot_product_attention.hpp>

namespace {
using namespace attend;

/// Numbers out of the input; zeros behind its end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  std::uint32_t byte() { return at_ == end_ ? 0u : *at_++; }
  Index between(Index low, Index high) {
    const Index n = high - low + 1;
    return low + static_cast<Index>(n > 256 ? byte() * 256 + byte() : byte()) % n;
  }
  bool chance() { return (byte() & 1u) != 0; }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

[[noreturn]] void found(const std::string& what) {
  std::fprintf(stderr, "found: %s\n", what.c_str());
  std::abort();
}

/// Small values that do not repeat soon.
class Values {
 public:
  explicit Values(std::uint32_t seed) : state_(seed * 2654435761u + 1) {}
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<std::int32_t>(state_ >> 8) - (1 << 23)) * 0x1p-22f;
  }

 private:
  std::uint32_t state_;
};

/// [B, H, T, D] in memory with gaps, heads before or behind tokens; axes of an input may repeat (stride 0).
struct Operand {
  std::vector<float> memory;
  TensorView<float, 4> view;

  Operand(Input& in, const Shape<4>& s, bool may_repeat, std::uint32_t seed) {
    const Index gap = in.between(0, 3), row = s[3] + gap;
    Shape<4> strides = in.chance() ? Shape<4>{s[2] * s[1] * row + gap, row, s[1] * row, 1}
                                   : Shape<4>{s[1] * s[2] * row + gap, s[2] * row, row, 1};
    memory.assign(static_cast<std::size_t>(s[0] * strides[0] + s[1] * strides[1] + 64), 0.0f);
    for (std::size_t axis = 0; may_repeat && axis < 3; ++axis)
      if (in.between(0, 7) == 7) strides[axis] = 0;
    view = TensorView<float, 4>(memory.data(), s, strides);
    Values values(seed);
    for (float& x : memory) x = values.next();
  }
};

/// A mask of numbers alone, and what it means for each query and key.
Mask random_mask(Input& in, Index queries, Index keys, std::vector<Index>& lengths, Index batch) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  switch (in.between(0, 9)) {
    case 0:
      return {};
    case 1:
      return causal();
    case 2:
      return causal(Corner::bottom_right);
    case 3:
      return causal_from(in.chance() ? in.between(0, keys) : kMost - in.between(0, 3));
    case 4:
      return sliding_window(in.between(0, 40), in.between(0, 40) - 1,
                            in.chance() ? Corner::bottom_right : Corner::top_left);
    case 5:
      return sliding_window(in.between(0, 3), kMost - in.between(0, 3));
    case 6:
      return causal(Corner::bottom_right) | prefix(in.between(0, keys));
    case 7:
      return Mask([](Index b, Index h, Index q, Index k) { return (b * 5 + h * 3 + q * 7 + k) % 3 != 0; });
    case 8:
      return Mask(causal(Corner::bottom_right)) & Mask(sliding_window(in.between(0, queries + 1), -1));
    default:
      lengths.resize(static_cast<std::size_t>(batch));
      for (Index& n : lengths) n = in.between(0, keys);
      return attend::lengths(lengths);
  }
}

struct Call {
  AttentionOptions<float> options;
  std::vector<Index> mask_lengths, key_lengths;

  Call(Input& in, Index batch, Index queries, Index keys, bool cached) {
    options.mask = random_mask(in, queries, keys, mask_lengths, batch);
    if (in.between(0, 3) == 3) options.scale = static_cast<double>(in.between(0, 8)) / 4 - 0.5;
    if (in.between(0, 7) == 7) options.softcap = 2.5;
    if (in.between(0, 7) == 7)
      options.modifier = [](float s, Index, Index h, Index q, Index k) {
        return s - 0.125f * static_cast<float>(h + 1) * static_cast<float>(q > k ? q - k : k - q);
      };
    if (!cached && in.chance()) {
      for (Index b = 0; b < batch; ++b) key_lengths.push_back(in.between(0, keys));
      options.key_lengths = key_lengths;
    }
  }
};

/// The bits of one batch of a call by reference/, whose keys are the first `keys` of those given.
void compare(const char* what, const AttentionOptions<float>& options, const AttentionSizes& sizes, Index b,
             TensorView<const float, 4> query, TensorView<const float, 4> key,
             TensorView<const float, 4> value, TensorView<const float, 4> out) {
  Mask mask = options.mask;
  mask.bind(sizes);
  reference::AttentionOptions<float> o;
  if (options.scale) o.scale = static_cast<float>(*options.scale);
  o.softcap = static_cast<float>(options.softcap);
  if (options.mask) o.mask = [&](Index, Index h, Index q, Index k) { return mask(b, h, q, k); };
  if (options.modifier)
    o.modifier = [&](float s, Index, Index h, Index q, Index k) {
      options.modifier(&s, b, h, q, k, k + 1);
      return s;
    };
  const auto expected = reference::exact::scaled_dot_product_attention(query, key, value, o);
  for (Index h = 0; h < out.size(1); ++h)
    for (Index q = 0; q < out.size(2); ++q)
      for (Index d = 0; d < out.size(3); ++d) {
        const float a = out(0, h, q, d), e = expected.output(0, h, q, d);
        if (std::memcmp(&a, &e, sizeof a) != 0)
          found(std::string(what) + ": row " + std::to_string(q) + " of head " + std::to_string(h) +
                " of batch " + std::to_string(b) + " of " + to_string(query.shape()) + " on " +
                to_string(key.shape()) + ": " + std::to_string(a) + ", expected " + std::to_string(e));
      }
}

Context& context_of(Index threads) {
  static Context contexts[] = {Context(1), Context(2), Context(3)};
  return contexts[threads];
}

void tensors(Input& in) {
  const Index B = in.between(0, 3), G = in.between(1, 2), H = G * in.between(1, 3), D = in.between(1, 20),
              Dv = in.between(1, 20);
  const Index Tq = in.chance() ? in.between(0, 8) : in.between(0, 100);
  const Index Tk = in.chance() ? in.between(0, 40) : in.chance() ? in.between(90, 200) : in.between(0, 3300);
  if (B * H * Tq * Tk > 400000) return;  // the reference is slow
  Operand q(in, {B, H, Tq, D}, true, 1), k(in, {B, G, Tk, D}, true, 2), v(in, {B, G, Tk, Dv}, true, 3),
      out(in, {B, H, Tq, Dv}, false, 4);
  const Call call(in, B, Tq, Tk, false);
  scaled_dot_product_attention<float>(context_of(in.between(0, 2)), q.view, k.view, v.view, call.options,
                                      out.view);
  const AttentionSizes sizes{
      B, H, Tq, Tk, nullptr, nullptr, call.key_lengths.empty() ? nullptr : call.key_lengths.data()};
  for (Index b = 0; b < B; ++b) {
    const Index n = sizes.key_count(b);
    compare("tensors", call.options, sizes, b, q.view.slice(0, b, b + 1),
            k.view.slice(0, b, b + 1).slice(2, 0, n), v.view.slice(0, b, b + 1).slice(2, 0, n),
            out.view.slice(0, b, b + 1));
  }
}

/// What a cache should hold: of each sequence, the seed of each token's values.
struct CacheModel {
  KVCache<float> cache;
  std::vector<std::vector<std::uint32_t>> tokens;
};

class Caches {
 public:
  explicit Caches(Input& in)
      : in_(in),
        G_(in.between(1, 2)),
        D_(in.between(1, 18)),
        Dv_(in.between(1, 18)),
        window_(in.chance() ? 0 : in.between(1, 200)) {
    all_.push_back({KVCache<float>({.batch = in.between(1, 3),
                                    .num_kv_heads = G_,
                                    .head_dim = D_,
                                    .value_dim = Dv_,
                                    .window = window_}),
                    {}});
    all_[0].tokens.resize(static_cast<std::size_t>(all_[0].cache.batch()));
  }
  void run() {
    for (int steps = 0; !in_.empty() && steps < 40; ++steps) {
      CacheModel& m = all_[static_cast<std::size_t>(in_.between(0, static_cast<Index>(all_.size()) - 1))];
      try {
        step(m);
      } catch (const Error&) {  // whatever was refused left the cache as it was
      }
      for (const CacheModel& each : all_) check(each);
    }
  }

 private:
  void step(CacheModel& m) {
    const Index b = in_.between(-1, m.cache.batch());  // one outside on either side
    const bool inside = b >= 0 && b < m.cache.batch();
    auto* own = inside ? &m.tokens[static_cast<std::size_t>(b)] : nullptr;
    switch (in_.between(0, 9)) {
      case 0:
      case 1:
        append(m, b, in_.between(1, 4));
        break;
      case 2:
        append(m, b, in_.between(80, 230));
        break;
      case 3: {
        const Index length = inside ? static_cast<Index>(own->size()) : 0;
        const Index n = in_.chance() ? in_.between(-1, length + 1) : length - in_.between(0, 5);
        const bool may = m.cache.can_truncate(b, n);
        bool done = false;
        try {
          m.cache.truncate(b, n);
          done = true;
        } catch (const Error&) {
        }
        if (done != may) found("can_truncate says another thing than truncate does");
        if (done) own->resize(static_cast<std::size_t>(n));
        break;
      }
      case 4: {
        if (m.tokens.size() > 5) break;
        m.cache.fork(b);
        const auto copy = *own;
        m.tokens.push_back(copy);
        break;
      }
      case 5: {
        std::vector<Index> parents(static_cast<std::size_t>(in_.between(1, 4)));
        for (Index& parent : parents) parent = in_.between(-1, m.cache.batch() * 8) / 8;
        m.cache.reorder(parents);
        std::vector<std::vector<std::uint32_t>> now;
        for (Index parent : parents) now.push_back(m.tokens[static_cast<std::size_t>(parent)]);
        m.tokens = now;
        break;
      }
      case 6:
        if (all_.size() < 4) {
          const CacheModel copy = m;
          all_.push_back(copy);
        } else {
          m = all_[static_cast<std::size_t>(in_.between(0, 3))];
        }
        break;
      case 7:
        m.cache.reserve(in_.between(-1, 300));
        break;
      case 8: {
        CacheModel& other =
            all_[static_cast<std::size_t>(in_.between(0, static_cast<Index>(all_.size()) - 1))];
        if (m.tokens.size() > 5) break;
        const Index from = in_.between(0, other.cache.batch() - 1);
        m.cache.fork(other.cache, from);
        const auto copy = other.tokens[static_cast<std::size_t>(from)];
        m.tokens.push_back(copy);
        break;
      }
      default:
        attend_to(m);
    }
  }
  void append(CacheModel& m, Index b, Index n) {
    Tensor<float, 3> key({G_, n, D_}), value({G_, n, Dv_});
    std::vector<std::uint32_t> seeds;
    for (Index t = 0; t < n; ++t) {
      seeds.push_back(++last_);
      fill(last_, t, key, value);
    }
    m.cache.append(b, key, value);
    auto& own = m.tokens[static_cast<std::size_t>(b)];
    own.insert(own.end(), seeds.begin(), seeds.end());
  }
  void fill(std::uint32_t seed, Index t, Tensor<float, 3>& key, Tensor<float, 3>& value) const {
    Values values(seed);
    for (Index g = 0; g < G_; ++g) {
      for (Index d = 0; d < D_; ++d) key(g, t, d) = values.next();
      for (Index d = 0; d < Dv_; ++d) value(g, t, d) = values.next();
    }
  }
  void check(const CacheModel& m) const {
    if (m.cache.batch() != static_cast<Index>(m.tokens.size()))
      found("a cache of another number of sequences");
    std::vector<float> key(static_cast<std::size_t>(D_)), value(static_cast<std::size_t>(Dv_));
    Tensor<float, 3> k({G_, 1, D_}), v({G_, 1, Dv_});
    for (std::size_t b = 0; b < m.tokens.size(); ++b) {
      if (m.cache.length(static_cast<Index>(b)) != static_cast<Index>(m.tokens[b].size()))
        found("a sequence of another length");
      const Index first = m.cache.first_token(static_cast<Index>(b));
      for (auto t = static_cast<std::size_t>(first); t < m.tokens[b].size(); t += t % 7 == 0 ? 1 : 5) {
        fill(m.tokens[b][t], 0, k, v);
        for (Index g = 0; g < G_; ++g) {
          m.cache.read(static_cast<Index>(b), g, static_cast<Index>(t), key, value);
          if (std::memcmp(key.data(), k[g].data(), key.size() * 4) != 0 ||
              std::memcmp(value.data(), v[g].data(), value.size() * 4) != 0)
            found("token " + std::to_string(t) + " of sequence " + std::to_string(b) +
                  " reads something else");
        }
      }
    }
  }
  void attend_to(const CacheModel& m) {
    const Index B = m.cache.batch(), H = G_ * in_.between(1, 3), Tq = in_.between(0, 5),
                Tk = m.cache.max_length();
    Operand q(in_, {B, H, Tq, D_}, true, 5), out(in_, {B, H, Tq, Dv_}, false, 6);
    Call call(in_, B, Tq, Tk, true);
    if (window_ > 0) {  // the cache's pair, where all that it sees is there
      call.options.mask = call.options.mask & Mask(sliding_window(window_, 0, Corner::bottom_right));
      for (Index b = 0; b < B; ++b)
        if (m.cache.first_token(b) > (std::max)(Index{0}, m.cache.length(b) - Tq - window_)) return;
    }
    scaled_dot_product_attention<float>(context_of(in_.between(0, 2)), q.view, m.cache, call.options,
                                        out.view);
    const AttentionSizes sizes{B, H, Tq, Tk, nullptr, nullptr, m.cache.lengths().data()};
    for (Index b = 0; b < B; ++b) {
      const auto& own = m.tokens[static_cast<std::size_t>(b)];
      const Index n = static_cast<Index>(own.size());
      Tensor<float, 3> key({G_, n, D_}), value({G_, n, Dv_});
      for (Index t = 0; t < n; ++t) fill(own[static_cast<std::size_t>(t)], t, key, value);
      compare("cache", call.options, sizes, b, q.view.slice(0, b, b + 1), key.reshape<4>({1, G_, n, D_}),
              value.reshape<4>({1, G_, n, Dv_}), out.view.slice(0, b, b + 1));
    }
  }

  Input& in_;
  Index G_, D_, Dv_, window_;
  std::uint32_t last_ = 0;
  std::vector<CacheModel> all_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  try {
    if (in.chance())
      tensors(in);
    else
      Caches(in).run();
  } catch (const attend::Error&) {
  }
  return 0;
}
