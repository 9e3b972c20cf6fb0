// Entry point of the core's tests: libtorch is set up as on the threads that run the core. doctest's implementation lives
// here alone, so the test files stay quick to compile.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "styleclip/runtime.h"

int main(int argc, char** argv) {
  styleclip::prepare_thread();
  return doctest::Context(argc, argv).run();
}
