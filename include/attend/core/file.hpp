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

/// The file of that name in a folder. A name that leads out of it, as a file may say, is an error that begins
/// with `what`.
inline std::filesystem::path file_in_folder(const std::filesystem::path& folder, const std::string& name,
                                            const std::string& what) {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\\:\0", 4)) != std::string::npos)
    throw_error(what, " '", name, "' is not the name of a file in the same folder");
  return folder / name;
}

/// A regular file, open for reading from its begin to its end. Folders, pipes and devices are errors, and are
/// not waited for.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path) : path_(path.string()) {
    if (path_.find('\0') != std::string::npos)  // where the system would take its name to end
      throw_error(path_, ": a path with a NUL byte");
#if ATTEND_HAS_MMAP
    file_ =
        ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait for somebody to write
    if (file_ < 0) throw_error(path_, ": cannot open: ", std::strerror(errno));
    struct stat status {};
    if (::fstat(file_, &status) != 0)
      fail_and_close("cannot read its size: " + std::string(std::strerror(errno)));
    if (!S_ISREG(status.st_mode)) fail_and_close("not a regular file");
    if (static_cast<std::uintmax_t>(status.st_size) > (std::numeric_limits<std::ptrdiff_t>::max)())
      fail_and_close("larger than the address space");
    size_ = static_cast<std::size_t>(status.st_size);
#else
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored))
      throw_error(path_, ": cannot open, or not a regular file");
    file_.open(path, std::ios::binary | std::ios::ate);
    const std::streamoff end = file_ ? static_cast<std::streamoff>(file_.tellg()) : -1;
    if (end < 0 || static_cast<std::uintmax_t>(end) > (std::numeric_limits<std::ptrdiff_t>::max)())
      throw_error(path_, ": cannot open, or cannot read its size");
    size_ = static_cast<std::size_t>(end);
    file_.seekg(0);
#endif
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() {
#if ATTEND_HAS_MMAP
    ::close(file_);
#endif
  }

  const std::string& path() const { return path_; }
  /// When it was opened. It may have changed since.
  std::size_t size() const { return size_; }

  /// Reads up to `count` bytes; fewer only where the file ends. Returns how many.
  std::size_t read(char* out, std::size_t count) {
    std::size_t done = 0;
    while (done < count) {
#if ATTEND_HAS_MMAP
      const ::ssize_t got = ::read(file_, out + done, count - done);
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

#if ATTEND_HAS_MMAP
  int descriptor() const { return file_; }
#endif

 private:
#if ATTEND_HAS_MMAP
  [[noreturn]] void fail_and_close(const std::string& message) {
    ::close(file_);
    throw_error(path_, ": ", message);
  }
  int file_ = -1;
#else
  std::ifstream file_;
#endif
  std::string path_;
  std::size_t size_ = 0;
};

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

  /// Gives back the memory of [begin, begin + count); a later read fetches it again. So does one of its
  /// neighbours: the system maps up to a huge page around a byte that is read, so whole huge pages go.
  void release(const std::byte* begin, std::size_t count) const {
#if ATTEND_HAS_MMAP
    constexpr std::uintptr_t kReach = std::uintptr_t{2} << 20;
    const auto data = reinterpret_cast<std::uintptr_t>(data_),
               first = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t from = (std::max)(first / kReach * kReach, data);
    const std::uintptr_t to = (std::min)((first + count + kReach - 1) / kReach * kReach, data + size_);
    if (count > 0) ::madvise(const_cast<std::byte*>(data_) + (from - data), to - from, MADV_DONTNEED);
#else
    (void)begin;
    (void)count;
#endif
  }

 private:
  void open() {
    InputFile file(path_);
    if (file.size() == 0) return;
#if ATTEND_HAS_MMAP
    void* data = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (data == MAP_FAILED)
      throw_error(path_, ": cannot map ", file.size(), " bytes: ", std::strerror(errno));
    data_ = static_cast<const std::byte*>(data);
    size_ = file.size();
  }
#else
    memory_.resize(file.size());
    memory_.resize(file.read(reinterpret_cast<char*>(memory_.data()), memory_.size()));
    data_ = memory_.data();
    size_ = memory_.size();
  }
  std::vector<std::byte, detail::AlignedAllocator<std::byte>> memory_;
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

/// The bytes of a file, or of what is left of one that gets shorter meanwhile.
inline std::string read_file(const std::filesystem::path& path) {
  InputFile file(path);
  std::string bytes(file.size(), '\0');
  bytes.resize(file.read(bytes.data(), bytes.size()));
  return bytes;
}

/// Calls f(line, offset) for each line of a file, without its end ("\n") and without holding all of the file
/// in memory; offset is that of the line in the file.
template <class F>
void for_each_line(const std::filesystem::path& path, F&& f) {
  InputFile file(path);
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
