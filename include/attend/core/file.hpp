// Files as bytes: mapped where the system can, read into memory, or read line by line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/location.hpp>

#if defined(__unix__) || defined(__APPLE__)
#define ATTEND_HAS_MMAP 1
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#define ATTEND_HAS_MMAP 0
#include <fstream>

#include <attend/core/aligned.hpp>
#endif

namespace attend::inline ATTEND_ABI {

namespace detail {
/// The file of that name in a folder. A name that leads out of it, as a file may say, is an error that begins
/// with `what`.
inline Location file_in_folder(const Location& folder, const std::string& name, const std::string& what) {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\\:\0", 4)) != std::string::npos)
    throw_error(what, " '", name, "' is not the name of a file in the same folder");
  return folder / name;
}

/// Error where a folder is missing, or is something else.
inline void check_folder(const Location& folder) {
  if (!folder.exists()) throw_error(folder.string(), ": there is no such folder");
  if (!folder.is_folder()) throw_error(folder.string(), ": a file, where a folder is expected");
}

/// A regular file, open for reading from its begin to its end. Folders, pipes and devices are errors, and are
/// not waited for; so is a Git-LFS pointer, which stands for a file that was not fetched.
class InputFile {
 public:
  /// Opens it. Error, which names it, where it is none or cannot be read.
  explicit InputFile(const Location& location) : path_(location.string()) {
    if (in_memory_ = location.in_memory(); in_memory_) {
      const std::span<const std::byte>* bytes = location.find();
      if (bytes == nullptr) throw_error(path_, ": is not among the files in memory");
      memory_ = *bytes;
      size_ = memory_.size();
    } else {
      open(location);
    }
    check_no_pointer();
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }  // How errors name it.
  /// When it was opened. It may have changed since.
  std::size_t size() const { return size_; }

  /// Reads up to `count` bytes; fewer only where the file ends. Returns how many.
  std::size_t read(char* out, std::size_t count) {
    if (in_memory_) {
      count = (std::min)(count, size_ - at_);
      if (count > 0) std::memcpy(out, memory_.data() + at_, count);
      at_ += count;
      return count;
    }
    std::size_t done = 0;
    while (done < count) {
#if ATTEND_HAS_MMAP
      const ::ssize_t got = ::read(file_.number, out + done, count - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_error(path_, ": cannot read: ", std::strerror(errno));
#else
      file_.read(out + done, static_cast<std::streamsize>(count - done));
      const std::streamsize got = file_.gcount();
      if (file_.bad()) throw_error(path_, ": cannot read");
#endif
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }
  /// Back to the first byte.
  void rewind() {
    at_ = 0;
    if (in_memory_) return;
#if ATTEND_HAS_MMAP
    ::lseek(file_.number, 0, SEEK_SET);
#else
    file_.clear();
    file_.seekg(0);
#endif
  }

#if ATTEND_HAS_MMAP
  int descriptor() const { return file_.number; }
#endif

 private:
  void check_no_pointer() {
    constexpr std::string_view kBegin = "version https://git-lfs";
    char begin[kBegin.size()];
    if (size_ > 1024) return;  // real ones have some 130 bytes
    const std::size_t got = read(begin, sizeof begin);
    rewind();
    if (std::string_view(begin, got) == kBegin)
      throw_error(path_, ": a Git-LFS pointer, not the file it stands for: fetch that by `git lfs pull`");
  }

#if ATTEND_HAS_MMAP
  void open(const Location& location) {
    if (path_.find('\0') != std::string::npos)  // where the system would take its name to end
      throw_error(path_, ": a path with a NUL byte");
    // A pipe would wait for somebody to write.
    file_.number = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file_.number < 0) {
      const int reason = errno;
      check_folder(location.parent());
      throw_error(path_, ": cannot open: ", std::strerror(reason));
    }
    struct stat status {};
    if (::fstat(file_.number, &status) != 0)
      throw_error(path_, ": cannot read its size: ", std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw_error(path_, ": not a regular file");
    if (static_cast<std::uintmax_t>(status.st_size) > (std::numeric_limits<std::ptrdiff_t>::max)())
      throw_error(path_, ": larger than the address space");
    size_ = static_cast<std::size_t>(status.st_size);
  }
  struct Descriptor {
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
      if (number >= 0) ::close(number);
    }
    int number = -1;
  };
  Descriptor file_;
#else
  void open(const Location& location) {
    check_folder(location.parent());
    if (type_of(location.path()) != std::filesystem::file_type::regular)
      throw_error(path_, ": cannot open, or not a regular file");
    file_.open(any_length(location.path()), std::ios::binary | std::ios::ate);
    const std::streamoff end = file_ ? static_cast<std::streamoff>(file_.tellg()) : -1;
    if (end < 0 || static_cast<std::uintmax_t>(end) > (std::numeric_limits<std::ptrdiff_t>::max)())
      throw_error(path_, ": cannot open, or cannot read its size");
    size_ = static_cast<std::size_t>(end);
    file_.seekg(0);
  }
  std::ifstream file_;
#endif
  std::string path_;
  bool in_memory_ = false;
  std::span<const std::byte> memory_;
  std::size_t size_ = 0, at_ = 0;  // at_: of what is in memory
};

/// Read-only bytes of a regular file, starting on a border of at least 64 bytes, or of one in memory where it
/// lies. Meanwhile nobody may shorten the file: a mapped page that is gone from it ends the program (SIGBUS).
class MappedFile {
 public:
  /// Maps it. Error, which names it, where that cannot be.
  explicit MappedFile(const Location& location) : path_(location.string()) { open(location); }
  MappedFile(MappedFile&& other) noexcept { swap(other); }  // Leaves an empty one behind.
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile() {
#if ATTEND_HAS_MMAP
    if (mapped_) ::munmap(const_cast<std::byte*>(data_), size_);
#elif defined(_WIN32)
    if (mapped_) unmap_file(data_);
#endif
  }

  const std::string& path() const { return path_; }                    // How errors name it.
  std::span<const std::byte> bytes() const { return {data_, size_}; }  // All of it; empty of an empty file.

  /// Gives back the memory of [begin, begin + count); a later read fetches it again. So does one of its
  /// neighbours: the system maps up to a huge page around a byte that is read, so whole huge pages go.
  void release(const std::byte* begin, std::size_t count) const {
#if ATTEND_HAS_MMAP
    constexpr std::uintptr_t kReach = std::uintptr_t{2} << 20;
    const auto data = reinterpret_cast<std::uintptr_t>(data_),
               first = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t from = (std::max)(first / kReach * kReach, data);
    const std::uintptr_t to = (std::min)((first + count + kReach - 1) / kReach * kReach, data + size_);
    if (mapped_ && count > 0)
      ::madvise(const_cast<std::byte*>(data_) + (from - data), to - from, MADV_DONTNEED);
#else
    (void)begin;
    (void)count;
#endif
  }

 private:
  void open(const Location& location) {
    InputFile file(location);
    size_ = file.size();
    if (size_ == 0) return;
    if (location.in_memory()) {
      data_ = location.find()->data();
      return;
    }
#if ATTEND_HAS_MMAP
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (data == MAP_FAILED) throw_error(path_, ": cannot map ", size_, " bytes: ", std::strerror(errno));
    data_ = static_cast<const std::byte*>(data);
    mapped_ = true;
#elif defined(_WIN32)
    data_ = map_file(location.path());
    if (data_ == nullptr) throw_error(path_, ": cannot map ", size_, " bytes");
    mapped_ = true;
#else
    memory_.resize(size_);
    memory_.resize(file.read(reinterpret_cast<char*>(memory_.data()), memory_.size()));
    data_ = memory_.data();
    size_ = memory_.size();
#endif
  }
  void swap(MappedFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
#if !ATTEND_HAS_MMAP && !defined(_WIN32)
    std::swap(memory_, other.memory_);
#endif
  }

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
#if !ATTEND_HAS_MMAP && !defined(_WIN32)
  std::vector<std::byte, Allocator<std::byte>> memory_;
#endif
};
}  // namespace detail

/// The bytes of a file, or of what is left of one that gets shorter meanwhile.
inline std::string read_file(const Location& path) {
  detail::InputFile file(path);
  std::string bytes(file.size(), '\0');
  bytes.resize(file.read(bytes.data(), bytes.size()));
  return bytes;
}

/// Calls f(line, offset) for each line of a file, without its end ("\n") and without holding all of the file
/// in memory; offset is that of the line in the file.
template <class F>
void for_each_line(const Location& path, F&& f) {
  detail::InputFile file(path);
  std::string block(std::min<std::size_t>(file.size(), std::size_t{1} << 16), '\0'), begun;
  std::size_t offset = 0;
  const auto give = [&](std::string_view line) {
    if (!begun.empty()) line = begun.append(line);
    f(line, offset);
    offset += line.size() + 1;
    begun.clear();
  };
  for (std::size_t left = file.size(); left > 0;) {
    const std::size_t got = file.read(block.data(), (std::min)(left, block.size()));
    if (got == 0) break;
    left -= got;
    std::string_view rest(block.data(), got);
    for (std::size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1))
      give(rest.substr(0, end));
    begun.append(rest);
  }
  if (!begun.empty()) give({});
}

}  // namespace attend::inline ATTEND_ABI

#undef ATTEND_HAS_MMAP
