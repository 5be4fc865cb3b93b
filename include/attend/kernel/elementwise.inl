// Rows of elementwise functions and of the row-wise normalisations, 16 lanes at a time.

// Where a block is several registers, a part of one is long: there it is out of line, and not in every loop.
#if ATTEND_SIMD < 512
#define ATTEND_PART ATTEND_NOINLINE
#else
#define ATTEND_PART ATTEND_INLINED
#endif
ATTEND_PART vf load_part(const float* p, int n) { return load_n(p, n); }
ATTEND_PART void store_part(float* p, vf v, int n) { store_n(p, v, n); }
#undef ATTEND_PART

/// load_n and store_n, for blocks that mostly are whole.
ATTEND_INLINED vf load_block(const float* p, int n) { return n == 16 ? load(p) : load_part(p, n); }
ATTEND_INLINED void store_block(float* p, vf v, int n) {
  if (n == 16)
    store(p, v);
  else
    store_part(p, v, n);
}

/// y[i] = f(x[i]) for one vector function f of math.inl, in blocks of 16.
template <vf (*f)(vf)>
ATTEND_INLINED void map_blocks(const float* x, float* y, Index n) {
  for (Index i = 0; i < n; i += 16) store(y + i, f(load(x + i)));
}
ATTEND_INLINED vf relu(vf x) { return max_of(set1(0.0f), x); }  // NaN stays NaN: max gives its second operand

ATTEND_INLINED void activate_blocks(Activation activation, const float* x, float* y, Index n) {
  switch (activation) {
    case Activation::identity:
      return map_blocks<opaque>(x, y, n);
    case Activation::relu:
      return map_blocks<relu>(x, y, n);
    case Activation::gelu:
      return map_blocks<gelu>(x, y, n);
    case Activation::gelu_tanh:
      return map_blocks<gelu_tanh>(x, y, n);
    case Activation::silu:
      return map_blocks<silu>(x, y, n);
    case Activation::sigmoid:
      return map_blocks<sigmoid>(x, y, n);
    case Activation::tanh:
      return map_blocks<tanh>(x, y, n);
    case Activation::exp:
      return map_blocks<exp>(x, y, n);
    case Activation::erf:
      return map_blocks<erf>(x, y, n);
  }
}

/// y = activation(x), n elements; y may be x. What is left of whole blocks goes through one of its own, by
/// the same loops.
ATTEND_NOINLINE void activate(Activation activation, const float* x, float* y, Index n) {
  alignas(64) float rest[16];
  const Index whole = n / 16 * 16;
  const int left = static_cast<int>(n - whole);
  const float* from = x;
  float* to = y;
  for (Index count = whole;; count = 16) {
    activate_blocks(activation, from, to, count);
    if (to == rest) return store_part(y + whole, load(rest), left);
    if (left == 0) return;
    store(rest, load_part(x + whole, left));
    from = to = rest;
  }
}

/// y[i] *= x[i].
ATTEND_NOINLINE void multiply(const float* x, float* y, Index n) {
  Index i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, mul(load(y + i), load(x + i)));
  for (; i < n; ++i) y[i] *= x[i];
}

/// One row of LayerNorm (see norm.hpp): sums in 16 lanes, lane j over elements j, j + 16, …. A sum of numbers
/// far from 0 has an error that is large beside their differences. So distances from the first element are
/// summed, which are all 0 where the row is constant; distances from the mean that this gives are small, and
/// their own mean corrects it. `statistics` takes mean and 1 / standard deviation, where not null.
ATTEND_NOINLINE void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y,
                                Index n, float* statistics) {
  const Index whole = n / 16 * 16;
  const int tail = static_cast<int>(n - whole);
  const vm in_row = from_bits((1u << tail) - 1u);
  const vf first = set1(x[0]);
  vf lanes = set1(0.0f);
  for (Index i = 0; i < whole; i += 16) lanes = add(lanes, sub(load(x + i), first));
  if (tail > 0) lanes = add(lanes, select(in_row, sub(load_n(x + whole, tail), first), set1(0.0f)));
  const float count = static_cast<float>(n);
  const float centre = x[0] + reduce_sum(lanes) / count;
  const vf centres = set1(centre);
  vf squares = set1(0.0f);
  lanes = set1(0.0f);
  for (Index i = 0; i < whole; i += 16) {
    const vf d = sub(load(x + i), centres);
    lanes = add(lanes, d);
    squares = fma(d, d, squares);
  }
  if (tail > 0) {
    const vf d = select(in_row, sub(load_n(x + whole, tail), centres), set1(0.0f));
    lanes = add(lanes, d);
    squares = fma(d, d, squares);
  }
  const float rest = reduce_sum(lanes) / count;
  float variance = __builtin_fmaf(-rest, rest, reduce_sum(squares) / count);
  if (variance < 0.0f) variance = 0.0f;
  const float inverse = 1.0f / square_root(variance + eps);
  const vf rests = set1(rest), inverses = set1(inverse);
  for (Index i = 0; i < n; i += 16) {
    const int m = static_cast<int>(n - i < 16 ? n - i : 16);
    vf v = mul(sub(sub(load_block(x + i, m), centres), rests), inverses);
    if (weight != nullptr) {
      const vf w = load_block(weight + i, m);
      v = bias != nullptr ? fma(v, w, load_block(bias + i, m)) : mul(v, w);
    }
    store_block(y + i, v, m);
  }
  if (statistics != nullptr) {
    statistics[0] = centre + rest;
    statistics[1] = inverse;
  }
}

/// One row of RMSNorm: y = x / sqrt(mean(x²) + eps) * weight.
ATTEND_NOINLINE void rms_norm(const float* x, const float* weight, float eps, float* y, Index n,
                              float* statistics) {
  const Index whole = n / 16 * 16;
  const int tail = static_cast<int>(n - whole);
  vf lanes = set1(0.0f);
  for (Index i = 0; i < whole; i += 16) {
    const vf v = load(x + i);
    lanes = fma(v, v, lanes);
  }
  if (tail > 0) {
    const vf v = load_n(x + whole, tail);
    lanes = fma(v, v, lanes);
  }
  const float inverse = 1.0f / square_root(reduce_sum(lanes) / static_cast<float>(n) + eps);
  const vf inverses = set1(inverse);
  for (Index i = 0; i < n; i += 16) {
    const int m = static_cast<int>(n - i < 16 ? n - i : 16);
    vf v = mul(load_block(x + i, m), inverses);
    if (weight != nullptr) v = mul(v, load_block(weight + i, m));
    store_block(y + i, v, m);
  }
  if (statistics != nullptr) statistics[0] = inverse;
}

/// Rotates `pairs` pairs of x in place: (a, b) -> (a c - b s, b c + a s). Pair i is elements i and pairs + i,
/// or where `interleaved` 2 i and 2 i + 1.
ATTEND_NOINLINE void rotate(float* x, const float* cosine, const float* sine, Index pairs, bool interleaved) {
  for (Index i = 0; i < pairs; i += 16) {
    const int m = static_cast<int>(pairs - i < 16 ? pairs - i : 16);
    float* first = x + i;
    float* second = first + pairs;
    float lanes[2][16];
    if (interleaved) {
      for (int j = 0; j < m; ++j) lanes[0][j] = x[2 * (i + j)], lanes[1][j] = x[2 * (i + j) + 1];
      first = lanes[0], second = lanes[1];
    }
    const vf a = load_block(first, m), b = load_block(second, m), c = load_block(cosine + i, m),
             s = load_block(sine + i, m);
    store_block(first, fma(a, c, sub(set1(0.0f), mul(b, s))), m);
    store_block(second, fma(b, c, mul(a, s)), m);
    if (interleaved)
      for (int j = 0; j < m; ++j) x[2 * (i + j)] = lanes[0][j], x[2 * (i + j) + 1] = lanes[1][j];
  }
}
