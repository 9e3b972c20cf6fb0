// What a call that must be refused is refused with.
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "styleclip/error.h"

namespace refusals {

/// The Error that `function` throws, which says what is wrong and what to do about it.
template <typename F>
styleclip::Error error_of(F&& function) {
  std::optional<styleclip::Error> thrown;
  try {
    function();
  } catch (const styleclip::Error& error) {
    thrown = error;
  }
  if (!thrown) FAIL("nothing was thrown");
  CHECK_FALSE(std::string(thrown->what()).empty());
  CHECK_FALSE(thrown->remedy().empty());
  return *thrown;
}

template <typename F>
styleclip::ErrorCode code_of(F&& function) {
  return error_of(function).code();
}

}  // namespace refusals
