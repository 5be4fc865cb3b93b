// What region_push.inl began.

#if defined(__clang__)
#if defined(ATTEND_TARGET)
#pragma clang attribute pop
#endif
#pragma float_control(pop)
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#undef ATTEND_TARGET
