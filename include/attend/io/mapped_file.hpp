// A whole file as bytes: mapped where the system can, read into memory elsewhere.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include <attend/core/error.hpp>

#if defined(__unix__) || defined(__APPLE__)
#define ATTEND_HAS_MMAP 1
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#define ATTEND_HAS_MMAP 0
#include <fstream>
#include <vector>

#include <attend/core/aligned.hpp>
#endif

namespace attend {

/// Read-only bytes of a regular file, starting on a border of at least 64 bytes. Meanwhile nobody may shorten
/// the file: a mapped page that is gone from it ends the program (SIGBUS).
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path) : path_(path.string()) { open(); }
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile() {
#if ATTEND_HAS_MMAP
    if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
#endif
  }

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Gives back the memory of [begin, begin + count); a later read fetches it again. So does one of its neighbours: the
  /// system maps up to a huge page around a byte that is read, so whole huge pages go.
  void release(const std::byte* begin, std::size_t count) const {
#if ATTEND_HAS_MMAP
    constexpr std::uintptr_t kReach = std::uintptr_t{2} << 20;
    const auto data = reinterpret_cast<std::uintptr_t>(data_), first = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t from = std::max(first / kReach * kReach, data);
    const std::uintptr_t to = std::min((first + count + kReach - 1) / kReach * kReach, data + size_);
    if (count > 0) ::madvise(const_cast<std::byte*>(data_) + (from - data), to - from, MADV_DONTNEED);
#else
    (void)begin;
    (void)count;
#endif
  }

 private:
#if ATTEND_HAS_MMAP
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  };
  void open() {
    const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.value < 0) fail(path_ + ": cannot open: " + std::strerror(errno));
    struct stat status {};
    if (::fstat(file.value, &status) != 0) fail(path_ + ": cannot read its size: " + std::strerror(errno));
    if (!S_ISREG(status.st_mode)) fail(path_ + ": not a regular file");
    if (static_cast<std::uintmax_t>(status.st_size) > std::numeric_limits<std::ptrdiff_t>::max())
      fail(path_ + ": larger than the address space");
    if (status.st_size == 0) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (data == MAP_FAILED)
      fail(path_ + ": cannot map " + std::to_string(size) + " bytes: " + std::strerror(errno));
    data_ = static_cast<const std::byte*>(data);
    size_ = size;
  }
#else
  void open() {
    std::ifstream file(path_, std::ios::binary | std::ios::ate);
    if (!file || !std::filesystem::is_regular_file(path_)) fail(path_ + ": cannot open");
    const std::streamoff end = file.tellg();
    if (end < 0 || static_cast<std::uintmax_t>(end) > std::numeric_limits<std::ptrdiff_t>::max())
      fail(path_ + ": cannot read its size");
    memory_.resize(static_cast<std::size_t>(end));
    file.seekg(0);
    if (end > 0 && !file.read(reinterpret_cast<char*>(memory_.data()), end)) fail(path_ + ": cannot read");
    data_ = memory_.data();
    size_ = memory_.size();
  }
  std::vector<std::byte, AlignedAllocator<std::byte>> memory_;
#endif
  void swap(MappedFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
#if !ATTEND_HAS_MMAP
    std::swap(memory_, other.memory_);
#endif
  }

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The text of a file.
inline std::string read_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace attend

#undef ATTEND_HAS_MMAP
