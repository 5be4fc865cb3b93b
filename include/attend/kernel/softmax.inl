// Softmax of rows: the greatest element, the sum of the exponentials in 16 lanes, and one division for each
// element.

/// The greatest element; NaN does not count, and -inf where nothing does.
ATTEND_INLINED float greatest(const float* x, Index n) {
  const vf none = set1(-__builtin_inff());
  vf best = none;
  const Index whole = n / 16 * 16;
  const int tail = static_cast<int>(n - whole);
  for (Index i = 0; i < whole; i += 16) best = max_of(load(x + i), best);
  if (tail > 0) best = max_of(select(from_bits((1u << tail) - 1u), load_n(x + whole, tail), none), best);
  return reduce_max(best);
}

/// y = e^x / sum(e^x), or where `log` its logarithm; n elements, y may be x. A row of nothing but -inf
/// becomes 0, with `log` -inf. NaN or +inf anywhere makes the row NaN.
ATTEND_NOINLINE void softmax(const float* x, float* y, Index n, bool log) {
  const float maximum = greatest(x, n);
  const vf shift = set1(maximum == -__builtin_inff() ? 0.0f : maximum);  // -inf - -inf would be NaN
  vf lanes = set1(0.0f);
  for (Index i = 0; i < n; i += 16) {
    const int m = static_cast<int>(n - i < 16 ? n - i : 16);
    vf e = exp(sub(load_block(x + i, m), shift));
    if (m < 16) e = select(from_bits((1u << m) - 1u), e, set1(0.0f));
    lanes = add(lanes, e);
    if (!log) store_block(y + i, e, m);
  }
  const float sum = reduce_sum(lanes);
  if (sum == 0.0f) {
    for (Index i = 0; i < n; ++i) y[i] = log ? -__builtin_inff() : 0.0f;
    return;
  }
  const vf sums = set1(sum), logs = set1(log ? static_cast<float>(log_of(sum)) : 0.0f);
  for (Index i = 0; i < n; i += 16) {
    const int m = static_cast<int>(n - i < 16 ? n - i : 16);
    const vf v = load_block((log ? x : y) + i, m);
    store_block(y + i, log ? sub(sub(v, shift), logs) : div(v, sums), m);
  }
}
