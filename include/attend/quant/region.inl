// The kernels of one tier, in a region and a namespace of their own. Its name is ATTEND_TIER, its registers
// have ATTEND_SIMD bits, ATTEND_VNNI says whether one instruction multiplies and sums four codes;
// ATTEND_MANY_ROWS is there where the tier has products of many rows. All of them are taken back.
#include <attend/kernel/region_push.inl>
namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS::ATTEND_TIER {
#include <attend/kernel/simd.inl>
#include <attend/quant/kernels.inl>
#if defined(ATTEND_MANY_ROWS)
#include <attend/quant/many_rows.inl>
#endif
}  // namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS::ATTEND_TIER
#include <attend/kernel/region_pop.inl>
#undef ATTEND_TIER
#undef ATTEND_SIMD
#undef ATTEND_VNNI
#undef ATTEND_MANY_ROWS
