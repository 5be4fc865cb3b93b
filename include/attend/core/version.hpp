// The version of the library, which has its home here: CMake, the packages and single.py read these three
// numbers. What they promise is in .github/CHANGELOG.md.
#pragma once

#define ATTEND_VERSION_MAJOR 0
#define ATTEND_VERSION_MINOR 2
#define ATTEND_VERSION_PATCH 0

/// One number that grows with each version: `#if ATTEND_VERSION_NUMBER >= 200` is 0.2.0 or newer.
#define ATTEND_VERSION_NUMBER \
  (ATTEND_VERSION_MAJOR * 10000 + ATTEND_VERSION_MINOR * 100 + ATTEND_VERSION_PATCH)

#define ATTEND_VERSION_TEXT(major, minor, patch) #major "." #minor "." #patch
#define ATTEND_VERSION_EXPAND(major, minor, patch) ATTEND_VERSION_TEXT(major, minor, patch)
/// The same as text: "0.2.0".
#define ATTEND_VERSION ATTEND_VERSION_EXPAND(ATTEND_VERSION_MAJOR, ATTEND_VERSION_MINOR, ATTEND_VERSION_PATCH)
