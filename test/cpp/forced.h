#pragma once

#include <string>
#include <utility>

#include "styleclip/ops.h"

/// Forces one implementation of an operator ("reference", "cpu") while it lives.
struct Forced {
  Forced(std::string op, const std::string& name) : op(std::move(op)) {
    styleclip::force_implementation(this->op, name);
  }
  ~Forced() { styleclip::force_implementation(op, ""); }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
  std::string op;
};
