// Arguments of the examples: --name VALUE, --flag, --quiet, --help; anything else is a one-line error and
// exit code 1.
#pragma once

#include <cstdio>
#include <exception>
#include <initializer_list>
#include <iostream>
#include <map>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#endif

#include <attend/core/error.hpp>

class CommandLine {
 public:
  /// `flags` stand alone, `values` are followed by a value and may be repeated.
  CommandLine(int argc, char** argv, std::initializer_list<std::string_view> flags,
              std::initializer_list<std::string_view> values) {
    const auto is_in = [](std::initializer_list<std::string_view> names, std::string_view name) {
      for (std::string_view n : names)
        if (n == name) return true;
      return false;
    };
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (name == "--help" || name == "-h") {
        flags_.insert("--help");
      } else if (name == "--quiet" || is_in(flags, name)) {
        flags_.insert(name);
      } else if (is_in(values, name)) {
        if (i + 1 == argc) attend::throw_error(name, " needs a value, see --help");
        values_[name].emplace_back(argv[++i]);
      } else {
        attend::throw_error("unknown argument '", name, "', see --help");
      }
    }
  }

  bool has(const std::string& name) const { return flags_.contains(name) || values_.contains(name); }
  std::vector<std::string> all(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
  }
  std::string text(const std::string& name, const std::string& otherwise = {}) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second.back();
  }
  std::string required(const std::string& name) const {
    if (!values_.contains(name)) attend::throw_error(name, " is required, see --help");
    return text(name);
  }
  long integer(const std::string& name, long otherwise, long least, long most) const {
    if (!values_.contains(name)) return otherwise;
    const std::string value = text(name);
    std::size_t end = 0;
    long n = 0;
    try {
      n = std::stol(value, &end);
    } catch (const std::exception&) {
      end = std::string::npos;
    }
    if (end != value.size() || n < least || n > most)
      attend::throw_error(name, " needs a number from ", least, " to ", most, ", got '", value, "'");
    return n;
  }
  double number(const std::string& name, double otherwise, double least, double most) const {
    if (!values_.contains(name)) return otherwise;
    const std::string value = text(name);
    std::size_t end = 0;
    double x = 0;
    try {
      x = std::stod(value, &end);
    } catch (const std::exception&) {
      end = std::string::npos;
    }
    if (end != value.size() || !(x >= least && x <= most))
      attend::throw_error(name, " needs a number from ", least, " to ", most, ", got '", value, "'");
    return x;
  }
  int threads() const { return static_cast<int>(integer("--threads", 1, 1, 999)); }

 private:
  std::set<std::string> flags_;
  std::map<std::string, std::vector<std::string>> values_;
};

/// A standard stream that is closed stays one that cannot be used: no file that is opened takes its number.
inline void keep_closed_streams() {
#if defined(__unix__) || defined(__APPLE__)
  for (int stream = 0; stream < 3; ++stream)
    if (::fcntl(stream, F_GETFD) < 0)
      static_cast<void>(::open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY));
#endif
}

/// Runs an example; an error is one line on standard error and exit code 1.
template <class Run>
int run_example(const char* name, Run&& run) {
  keep_closed_streams();
  try {
    run();
    if (!std::cout.flush() || std::fflush(stdout) != 0 || std::ferror(stdout))
      attend::throw_error("standard output: cannot be written");
    return 0;
  } catch (const std::bad_alloc&) {
    std::cerr << name << ": out of memory\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << '\n';
    return 1;
  }
}
