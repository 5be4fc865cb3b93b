// Mapping of a file on Windows, by the few functions that it takes, declared as windows.h does, whose macros
// are no program's wish.
#pragma once

#if defined(_WIN32)
#include <cstddef>
#include <cstdio>
#include <filesystem>

#include <fcntl.h>
#include <io.h>
#include <sys/stat.h>

#include <attend/core/config.hpp>

struct _SECURITY_ATTRIBUTES;
extern "C" {
__declspec(dllimport) void* __stdcall CreateFileW(const wchar_t* name, unsigned long access,
                                                  unsigned long share, _SECURITY_ATTRIBUTES* security,
                                                  unsigned long creation, unsigned long flags, void* like);
__declspec(dllimport) void* __stdcall CreateFileMappingW(void* file, _SECURITY_ATTRIBUTES* security,
                                                         unsigned long protect, unsigned long high,
                                                         unsigned long low, const wchar_t* name);
__declspec(dllimport) void* __stdcall MapViewOfFile(void* mapping, unsigned long access, unsigned long high,
                                                    unsigned long low, std::size_t bytes);
__declspec(dllimport) int __stdcall UnmapViewOfFile(const void* begin);
__declspec(dllimport) int __stdcall CloseHandle(void* handle);
}

namespace attend::inline ATTEND_ABI::detail {

/// All bytes of a file that is not empty, to be read; null where it cannot be. Others may read it meanwhile,
/// and remove or replace it.
inline const std::byte* map_file(const std::filesystem::path& path) {
  constexpr unsigned long kGenericRead = 0x80000000, kShareReadAndDelete = 5, kOpenExisting = 3;
  constexpr unsigned long kPageReadonly = 2, kMapRead = 4;
  void* const file =
      CreateFileW(path.c_str(), kGenericRead, kShareReadAndDelete, nullptr, kOpenExisting, 0, nullptr);
  if (file == reinterpret_cast<void*>(-1)) return nullptr;
  void* const mapping = CreateFileMappingW(file, nullptr, kPageReadonly, 0, 0, nullptr);
  void* const data = mapping == nullptr ? nullptr : MapViewOfFile(mapping, kMapRead, 0, 0, 0);
  if (mapping != nullptr) CloseHandle(mapping);
  CloseHandle(file);  // what is mapped stays
  return static_cast<const std::byte*>(data);
}
inline void unmap_file(const std::byte* data) { UnmapViewOfFile(data); }

/// A file that was not there, to be written; null, and errno, where it cannot be.
inline std::FILE* create_file(const std::filesystem::path& path) {
  const int number = ::_wopen(path.c_str(), _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY, _S_IREAD | _S_IWRITE);
  return number < 0 ? nullptr : ::_fdopen(number, "wb");
}

}  // namespace attend::inline ATTEND_ABI::detail
#endif
