// Entry point of the core's tests. doctest's implementation lives here alone, so the test files stay quick to compile.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
