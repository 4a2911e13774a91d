#define DOCTEST_CONFIG_IMPLEMENT  // its declarations are precompiled, where WITH_MAIN would be too late
#include <doctest/doctest.h>

int main(int count, char** arguments) { return doctest::Context(count, arguments).run(); }
