// Where a file or a folder is: on disk, or in memory under a name.
#pragma once

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/config.hpp>
#include <attend/core/error.hpp>

#if defined(_WIN32)
#include <attend/core/windows_map.hpp>
#else
#include <dirent.h>
#endif

namespace attend::inline ATTEND_ABI {

namespace detail {
/// Text is UTF-8 on every system; Windows would take and give that of its code page.
inline std::filesystem::path utf8_path(std::string_view text) {
#if defined(_WIN32)
  return std::filesystem::path(std::u8string(text.begin(), text.end()));
#else
  return std::filesystem::path(text);
#endif
}
inline std::string utf8_text(const std::filesystem::path& path) {
#if defined(_WIN32)
  const std::u8string text = path.generic_u8string();
  return std::string(text.begin(), text.end());
#else
  return path.string();
#endif
}
#if !defined(_WIN32)
inline const std::filesystem::path& any_length(const std::filesystem::path& path) { return path; }
inline std::filesystem::file_type type_of(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::status(path, ignored).type();
}
/// What is called so in a folder. By its text: the operator / of libstdc++ frees what it never had where
/// memory runs out behind a slash at the end.
inline std::filesystem::path below(const std::filesystem::path& folder, std::string_view name) {
  std::string text = folder.string();
  if (!text.empty() && !text.ends_with('/')) text += '/';
  return text.append(name);
}
/// The names there. Not by a directory_iterator, whose increment ends the program where memory runs out.
inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  struct Close {
    void operator()(DIR* open) const { closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(opendir(folder.c_str()));
  if (open == nullptr && errno == ENOMEM) throw_error(folder.string(), ": no memory to read the folder");
  std::vector<std::string> out;
  while (const dirent* entry = open ? readdir(open.get()) : nullptr)
    if (const std::string_view name = entry->d_name; name != "." && name != "..") out.emplace_back(name);
  return out;
}
#endif
}  // namespace detail

/// Files that are in memory, by their names below the folder: "config.json", "1_Pooling/config.json".
using FileMap = std::map<std::string, std::span<const std::byte>, std::less<>>;

namespace detail {
template <class T>
concept Bytes = std::ranges::contiguous_range<const T> && std::ranges::sized_range<const T> &&
                sizeof(std::ranges::range_value_t<const T>) == 1;
/// std::map<std::string, std::string>, std::unordered_map<std::string, std::vector<std::byte>> and the like.
template <class T>
concept MapOfFiles = requires(const T& map) {
  requires std::convertible_to<decltype(map.begin()->first), std::string_view>;
  requires Bytes<std::remove_cvref_t<decltype(map.begin()->second)>>;
};
}  // namespace detail

/// A path on disk (text is UTF-8), or the same in a map of file names to bytes. All that the library reads it
/// opens by one of these, so each `open` takes either:
///     Tokenizer::open("bert-base-uncased");
///     Tokenizer::open(std::map<std::string, std::string>{{"vocab.txt", "[PAD]\n[UNK]\n"}});
/// The bytes of a map are not copied. Whoever opens a model or a tokenizer may let go of them after that;
/// SafeTensors, whose views lie in them, needs them as long as it lives.
class Location {
 public:
  /// A file or folder on disk. Text is UTF-8.
  template <class T>
  requires std::convertible_to<const T&, std::filesystem::path> &&
      (!detail::MapOfFiles<T>)Location(const T& path) {
    if constexpr (std::convertible_to<const T&, std::string_view>)
      path_ = detail::utf8_path(path);
    else
      path_ = path;
  }
  /// A folder in memory: names below it, "1_Pooling/config.json", to bytes, which have to live as long.
  template <detail::MapOfFiles T>
  Location(const T& files) {
    FileMap map;
    for (const auto& [name, bytes] : files)
      map.emplace(normal(std::string_view(name)),
                  std::as_bytes(std::span(std::data(bytes), std::size(bytes))));
    files_ = std::make_shared<const FileMap>(std::move(map));
  }

  /// A folder of files that were made of the one file that has all of it, and live as long as the location.
  static Location made_of(const Location& file, std::map<std::string, std::string> texts) {
    struct Made {
      std::map<std::string, std::string> texts;
      FileMap map;
    };
    const auto made = std::make_shared<Made>(Made{std::move(texts), {}});
    for (const auto& [name, text] : made->texts) made->map.emplace(name, std::as_bytes(std::span(text)));
    Location out = file;
    out.path_.clear();
    out.files_ = std::shared_ptr<const FileMap>(made, &made->map);
    out.stands_for_ = std::make_shared<const Location>(file);
    return out;
  }
  /// The file that the folder is made of, or null.
  const Location* stands_for() const { return stands_for_.get(); }

  bool in_memory() const { return files_ != nullptr; }  // Whether there is a map behind it.
  /// On disk its path, in memory the name below the folder.
  const std::filesystem::path& path() const { return path_; }
  /// How errors name it.
  std::string string() const {
    if (stands_for_) return stands_for_->string() + (path_.empty() ? "" : " as " + detail::utf8_text(path_));
    return in_memory() && path_.empty() ? "files in memory" : detail::utf8_text(path_);
  }
  std::string name() const { return detail::utf8_text(path_.filename()); }  // The last part of the path.
  /// With its dot, ".json"; empty where there is none.
  std::string extension() const { return detail::utf8_text(path_.extension()); }

  /// What lies below a folder.
  Location operator/(std::string_view name) const {
    Location out = *this;
    if (name.empty()) return out;
    out.path_ = detail::below(path_, name);
    if (in_memory()) out.path_ = detail::utf8_path(normal(detail::utf8_text(out.path_)));
    return out;
  }
  /// The folder that it lies in.
  Location parent() const {
    Location out = *this;
    out.path_ = path_.parent_path();
    if (!in_memory() && out.path_.empty()) out.path_ = ".";
    return out;
  }

  /// Null where there is no such file in memory.
  const std::span<const std::byte>* find() const {
    const auto found = files_->find(detail::utf8_text(path_));
    return found == files_->end() ? nullptr : &found->second;
  }
  /// Whether it is there, and a folder.
  bool is_folder() const {
    if (!in_memory()) return detail::type_of(path_) == std::filesystem::file_type::directory;
    const std::string begin = path_.empty() ? "" : detail::utf8_text(path_) + "/";
    const auto next = files_->lower_bound(begin);
    return begin.empty() || (next != files_->end() && next->first.starts_with(begin));
  }
  /// Whether it is there: a file or a folder.
  bool exists() const {
    return in_memory() ? find() != nullptr || is_folder()
                       : std::filesystem::exists(std::filesystem::file_status(detail::type_of(path_)));
  }
  /// What a folder has, in no order: names of files and of folders, those of other folders' files left out.
  std::vector<std::string> names() const {
    if (!in_memory()) return detail::names_in(path_);
    std::vector<std::string> out;
    for (const auto& [name, bytes] : *files_)
      if (const std::filesystem::path path = detail::utf8_path(name); path.parent_path() == path_)
        out.push_back(detail::utf8_text(path.filename()));
    return out;
  }

 private:
  static std::string normal(std::string_view name) {  // "./a//b/" is "a/b"
    std::string out = detail::utf8_text(detail::utf8_path(name).lexically_normal());
    while (out.ends_with('/')) out.pop_back();
    return out == "." ? std::string() : out;
  }

  std::filesystem::path path_;
  std::shared_ptr<const FileMap> files_;  // null on disk
  std::shared_ptr<const Location> stands_for_;
};

}  // namespace attend::inline ATTEND_ABI
