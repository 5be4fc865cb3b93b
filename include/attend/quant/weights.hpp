// The table of reduced weights that layers see: rows in and out of packed weights, and their products.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/detail/backend.hpp>
#include <attend/quant/calls.hpp>
#include <attend/quant/dispatch.hpp>
#if !ATTEND_HAS_KERNELS
#include <attend/reference/weights.hpp>
#endif

namespace attend::inline ATTEND_ABI::quant {
inline namespace ATTEND_FLAGS {

constexpr bool is_half(WeightType type) {
  return type == WeightType::bfloat16 || type == WeightType::float16;
}
constexpr Codes codes_of(WeightType type) { return {type == WeightType::int8 ? 8 : 4}; }
constexpr Index groups_of(Index in) { return in / kGroup + (in % kGroup != 0 ? 1 : 0); }

/// Of an encoded row, of any length that an Index has; a group is its half and its codes.
inline std::size_t row_bytes(WeightType type, Index in) {
  const bool half = is_half(type);
  return static_cast<std::size_t>(half ? in : groups_of(in)) *
         static_cast<std::size_t>(half ? 2 : 2 + 4 * codes_of(type).bits);
}
inline std::size_t packed_bytes(WeightType type, Index count, Index in) {
  if (is_half(type)) return static_cast<std::size_t>(count * in * 2);
  return static_cast<std::size_t>(count / kColumns * groups_of(in) * codes_of(type).group());
}

/// Calls f(encoded, packed, bytes) for each piece of a slot's row: where it lies in the one and the other.
template <class F>
void each_piece(WeightType type, Index in, Index slot, F&& f) {
  const Index panel = slot / kColumns, half = slot % kColumns / 16, column = slot % 16;
  if (is_half(type)) {
    const Index at = type == WeightType::bfloat16 ? column * 4 + half * 2 : slot % kColumns * 2;
    for (Index k = 0; k < in; ++k) f(k * 2, (panel * in + k) * 2 * kColumns + at, 2);
    return;
  }
  const Codes codes = codes_of(type);
  for (Index g = 0; g < groups_of(in); ++g) {
    const Index encoded = g * (2 + 4 * codes.bits), packed = (panel * groups_of(in) + g) * codes.group();
    f(encoded, packed + 2 * codes.half() + slot % kColumns * 2, 2);
    for (Index j = 0; j < codes.bits; ++j)
      f(encoded + 2 + 4 * j, packed + half * codes.half() + (j * 16 + column) * 4, 4);
  }
}
/// Codes of 8 bits are signed in files, and plus 128 where they are packed.
inline void copy_piece(WeightType type, const std::byte* from, std::byte* to, Index bytes) {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
  if (type == WeightType::int8 && bytes == 4)
    for (int i = 0; i < 4; ++i) to[i] ^= std::byte{0x80};
}
inline void pack(WeightType type, const std::byte* encoded, Index in, std::byte* packed, Index slot) {
  each_piece(type, in, slot,
             [&](Index e, Index p, Index bytes) { copy_piece(type, encoded + e, packed + p, bytes); });
}
inline void unpack(WeightType type, const std::byte* packed, Index slot, Index in, std::byte* encoded) {
  each_piece(type, in, slot,
             [&](Index e, Index p, Index bytes) { copy_piece(type, packed + p, encoded + e, bytes); });
}

/// A block of 32 at a time.
inline void decode_slot(WeightType type, const std::byte* packed, Index slot, Index in, float* row) {
  std::byte block[2 * kGroup];
  Index piece = 0;
  each_piece(type, in, slot, [&](Index e, Index p, Index bytes) {
    const Index each = is_half(type) ? 2 * kGroup : 2 + 4 * codes_of(type).bits;
    copy_piece(type, packed + p, block + e % each, bytes);
    if ((e + bytes) % each != 0 && !(is_half(type) && e + bytes == 2 * in)) return;
    decode(type, block, (std::min)(kGroup, in - piece * kGroup), row + piece * kGroup);
    ++piece;
  });
}

#if ATTEND_HAS_KERNELS
/// Calls f(m0, m1, p0, p1, worker) for blocks of at most 192 rows, whose inputs stay in the L2 cache, times
/// `most` panels, whose outputs do. An item is 40 M multiplications at most, a millisecond or two, since a
/// call is stopped between items; its rows are a multiple of what the kernel takes `at_a_time`.
template <class F>
void each_block(Context& context, Index rows, Index at_a_time, Index panels, Index K, Index most,
                double operations, F&& f) {
  const int workers = context.workers(panels, operations);
  const Index most_rows =
      std::clamp<Index>(40'000'000 / kColumns / K / at_a_time * at_a_time, at_a_time, 192);
  const Index row_blocks = (rows + most_rows - 1) / most_rows,
              share_of_rows = (rows + row_blocks - 1) / row_blocks,
              block = (share_of_rows + at_a_time - 1) / at_a_time * at_a_time;
  most = std::clamp<Index>(40'000'000 / kColumns / K / block, 1, most);
  const Index share = (std::min)(most, workers == 1 ? panels : std::max<Index>(1, panels / (workers * 4)));
  const Index shares = (panels + share - 1) / share;
  context.parallel(row_blocks * shares, workers, [&](Index item, int worker) {
    const Index m = item / shares * block, p = item % shares * share;
    if (m < rows) f(m, (std::min)(rows, m + block), p, (std::min)(panels, p + share), worker);
  });
}

/// Of call.out's rows [m0, m1) and the columns of panels [p0, p1).
inline void activate(const detail::ProductCall<float>& call, Index m0, Index m1, Index p0, Index p1) {
  if (call.activation == Activation::identity) return;
  const Index begin = p0 * kColumns, end = (std::min)(call.out.size(1), p1 * kColumns);
  for (Index m = m0; m < m1; ++m) {
    float* row = &call.out(m, begin);
    call.activation.apply(call.activation, row, row, end - begin);
  }
}

/// Three panels at a time are widened for the products of float, but where there are few rows.
inline void half_product(Context& context, WeightType type, const std::byte* weight,
                         const detail::ProductCall<float>& call) {
  constexpr Index kWidened = 3;
  const Table& table = kernels();
  const Index M = call.out.size(0), N = call.out.size(1), K = call.x.size(1), panels = (N + 31) / 32;
  const bool bfloat = type == WeightType::bfloat16, few = M <= table.few_rows;
  const HalfProduct h{call.x.data(),        call.x.stride(0),       K, weight,
                      call.out.data(),      call.out.stride(0),     N, call.bias,
                      call.residual.data(), call.residual.stride(0)};
  const double operations = 2.0 * static_cast<double>(M) * static_cast<double>(K) * static_cast<double>(N);
  const Index each = K * kColumns * kWidened;
  Frame frame(context.workspace());
  float* wide = few ? nullptr : frame.take<float>(context.workers(panels, operations) * each);
  each_block(context, M, 6, panels, K, 9, operations,
             [&](Index m0, Index m1, Index p0, Index p1, int worker) {
               if (few) {
                 table.half_product(h, bfloat, m0, m1, p0, p1);
                 return activate(call, m0, m1, p0, p1);
               }
               float* w = wide + worker * each;
               for (Index p = p0; p < p1; p += kWidened) {
                 const Index n = p * kColumns, end = (std::min)(p1, p + kWidened);
                 for (Index q = p; q < end; ++q)
                   table.widen(weight + q * kColumns * K * 2, K, bfloat, w + (q - p) * kColumns * K);
                 const kernel::Product t{.a = h.a,
                                         .lda = h.lda,
                                         .w = w,
                                         .k = K,
                                         .c = h.c + n,
                                         .ldc = h.ldc,
                                         .n = (std::min)(N, end * kColumns) - n,
                                         .bias = h.bias == nullptr ? nullptr : h.bias + n,
                                         .residual = h.residual == nullptr ? nullptr : h.residual + n,
                                         .ldr = h.ldr,
                                         .activation = call.activation,
                                         .activate = call.activation.apply};
                 kernel::entry<&kernel::Kernels::product>()(t, m0, m1, 0, (t.n + 15) / 16);
               }
             });
}

inline void code_product(Context& context, detail::WeightFormat format, const std::byte* weight,
                         const detail::ProductCall<float>& call) {
  const Table& table = kernels();
  const Codes codes = codes_of(format.weights);
  const Index M = call.out.size(0), N = call.out.size(1), K = call.x.size(1), panels = (N + 31) / 32;
  const bool eight = format.activations == ActivationType::int8,
             bytes = eight && codes.bits <= table.byte_bits;
  const int limit = eight ? 127 : 16256;
  const InputGroup group{bytes, (M + 7) / 8 * 8};
  Frame frame(context.workspace());
  std::byte* inputs = frame.take<std::byte>(groups_of(K) * group.size());
  context.parallel(M, context.workers(M, 4.0 * static_cast<double>(M * K)), [&](Index m, int) {
    table.quantize(&call.x(m, 0), K, group, m, limit, codes.offset(), inputs);
  });
  const Product t{.a = inputs,
                  .rows = group.rows,
                  .groups = groups_of(K),
                  .w = weight,
                  .c = call.out.data(),
                  .ldc = call.out.stride(0),
                  .n = N,
                  .bias = call.bias,
                  .residual = call.residual.data(),
                  .ldr = call.residual.stride(0)};
  const double operations = static_cast<double>(M) * static_cast<double>(K) * static_cast<double>(N);
  each_block(context, M, table.rows, panels, K, 8, operations,
             [&](Index m0, Index m1, Index p0, Index p1, int) {
               table.product(t, codes.bits, bytes, m0, m1, p0, p1);
               activate(call, m0, m1, p0, p1);
             });
}
#else
/// A reference::QuantizedRow in memory of a frame.
struct RowOfFrame {
  template <class T>
  struct List {
    T* data;
    std::size_t count = 0;
    void clear() { count = 0; }
    void push_back(T value) { data[count++] = value; }
    std::size_t size() const { return count; }
    T operator[](std::size_t i) const { return data[i]; }
  };
  List<float> scales;
  List<int> codes;
};
/// By the loops of reference/.
inline void plain_product(Context& context, detail::WeightFormat format, const std::byte* weight, Index begin,
                          const detail::ProductCall<float>& call) {
  const Index M = call.out.size(0), N = call.out.size(1), K = call.x.size(1), groups = groups_of(K);
  const int workers = context.workers(M, 1e9);
  const Index row_size = static_cast<Index>(row_bytes(format.weights, K));
  Frame frame(context.workspace());
  const TensorView<std::byte, 2> encoded = frame.tensor<std::byte>({workers, row_size});
  const TensorView<float, 2> rows = frame.tensor<float>({workers, K});
  const TensorView<float, 3> scales = frame.tensor<float>({workers, 2, groups});
  const TensorView<int, 3> codes = frame.tensor<int>({workers, 2, groups * 32});
  context.parallel(M, workers, [&](Index m, int worker) {
    const auto quantized = [&](Index i) {
      return RowOfFrame{{scales[worker][i].data()}, {codes[worker][i].data()}};
    };
    RowOfFrame input = quantized(0), column = quantized(1);
    const std::span<const float> x(&call.x(m, 0), static_cast<std::size_t>(K));
    const std::span<std::byte> packed = encoded[worker].span();
    const std::span<float> row = rows[worker].span();
    if (!is_half(format.weights)) reference::quantize_input(format.activations, x, input);
    for (Index n = 0; n < N && !context.stopping(); ++n) {
      unpack(format.weights, weight, begin + n, K, packed.data());
      float y = 0;
      if (is_half(format.weights)) {
        decode(format.weights, packed.data(), K, row.data());
        for (std::size_t k = 0; k < x.size(); ++k) y = std::fma(x[k], row[k], y);
      } else {
        reference::weight_row(format.weights, std::span<const std::byte>(packed), column);
        y = reference::product(input, column);
      }
      if (call.bias != nullptr) y = y + call.bias[n];
      if (call.residual.data() != nullptr) y = y + call.residual(m, n);
      call.out(m, n) = activate(call.activation, y);
    }
  });
}
#endif  // ATTEND_HAS_KERNELS

inline void product(Context& context, detail::WeightFormat format, const std::byte* packed, Index begin,
                    const detail::ProductCall<float>& call) {
#if ATTEND_HAS_KERNELS
  const std::byte* weight = packed + packed_bytes(format.weights, begin, call.x.size(1));
  if (is_half(format.weights))
    half_product(context, format.weights, weight, call);
  else
    code_product(context, format, weight, call);
#else
  plain_product(context, format, packed, begin, call);
#endif
}

inline constexpr detail::WeightKernels weight_kernels = {row_bytes, encode, decode,      packed_bytes,
                                                         pack,      unpack, decode_slot, product};

}  // namespace ATTEND_FLAGS
}  // namespace attend::inline ATTEND_ABI::quant
