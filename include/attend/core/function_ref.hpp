// FunctionRef: how a function takes a callable without being a template.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// A reference to a callable, or a function, that outlives the call it is passed to. Never allocates.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
      : object_(const_cast<void*>(reinterpret_cast<const volatile void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*reinterpret_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

}  // namespace attend::inline ATTEND_ABI::detail
