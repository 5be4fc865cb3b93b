// Files of Windows, by the few functions that they take, declared as windows.h does, whose macros are no
// program's wish.
#pragma once

#if defined(_WIN32)
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

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
__declspec(dllimport) unsigned long __stdcall GetFullPathNameW(const wchar_t* name, unsigned long size,
                                                               wchar_t* out, wchar_t** last);
__declspec(dllimport) unsigned long __stdcall GetFileAttributesW(const wchar_t* name);
}

namespace attend::inline ATTEND_ABI::detail {

/// A path as Windows takes it at any length: one of 260 characters or more has to say so, and is whole then.
inline std::filesystem::path any_length(const std::filesystem::path& path) {
  constexpr std::size_t kShort = 240;  // with room for what is appended to a name
  std::wstring whole(GetFullPathNameW(path.c_str(), 0, nullptr, nullptr), L'\0');
  whole.resize(
      GetFullPathNameW(path.c_str(), static_cast<unsigned long>(whole.size()), whole.data(), nullptr));
  if (whole.size() < kShort || whole.starts_with(L"\\\\?\\")) return path;
  return whole.starts_with(L"\\\\") ? L"\\\\?\\UNC" + whole.substr(1) : L"\\\\?\\" + whole;
}

/// What lies there. The C library's stat, and so std::filesystem's, takes no path of any length.
inline std::filesystem::file_type type_of(const std::filesystem::path& path) {
  constexpr unsigned long kNone = 0xFFFFFFFF, kDirectory = 0x10;
  std::error_code ignored;
  const std::filesystem::path name = any_length(path);
  if (name == path) return std::filesystem::status(path, ignored).type();
  const unsigned long attributes = GetFileAttributesW(name.c_str());
  if (attributes == kNone) return std::filesystem::file_type::not_found;
  return attributes & kDirectory ? std::filesystem::file_type::directory
                                 : std::filesystem::file_type::regular;
}
/// What is called so in a folder, and the names there.
/// @{
inline std::filesystem::path below(const std::filesystem::path& folder, std::string_view name) {
  return folder / std::u8string(name.begin(), name.end());
}
inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator at(any_length(folder), error), end; !error && at != end;
       at.increment(error)) {
    const std::u8string name = at->path().filename().generic_u8string();
    out.emplace_back(name.begin(), name.end());
  }
  return out;
}
/// @}

/// All bytes of a file that is not empty, to be read; null where it cannot be. Others may read it meanwhile,
/// and remove or replace it.
inline const std::byte* map_file(const std::filesystem::path& path) {
  constexpr unsigned long kGenericRead = 0x80000000, kShareReadAndDelete = 5, kOpenExisting = 3;
  constexpr unsigned long kPageReadonly = 2, kMapRead = 4;
  void* const file = CreateFileW(any_length(path).c_str(), kGenericRead, kShareReadAndDelete, nullptr,
                                 kOpenExisting, 0, nullptr);
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
  const int number =
      ::_wopen(any_length(path).c_str(), _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY, _S_IREAD | _S_IWRITE);
  return number < 0 ? nullptr : ::_fdopen(number, "wb");
}

}  // namespace attend::inline ATTEND_ABI::detail
#endif
