// What regions_begin.inl began.

#pragma GCC diagnostic pop

#undef ATTEND_INLINED
#undef ATTEND_NOINLINE
#undef ATTEND_IN_LANES
#undef ATTEND_OF_LANES
#undef ATTEND_UNWATCHED
#undef ATTEND_UNROLL
#undef ATTEND_UNROLL_BY
#undef ATTEND_PRAGMA
#undef ATTEND_EXPANDED_PRAGMA
#undef ATTEND_WIDE_BASELINE
