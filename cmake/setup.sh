#!/bin/sh
# Installs what building guild needs and this machine lacks, from the Debian or Ubuntu packages. Does nothing where nothing is missing.
#
#   sh cmake/setup.sh        tests, examples, benchmarks
#   sh cmake/setup.sh ci     also what .ci/run checks with: clang, its sanitizers, clang-format, doxygen; where the system has them, clang 16 and
#                            19, and a compiler and an emulator for aarch64
set -eu

wanted='libeigen3-dev doctest-dev libbenchmark-dev nlohmann-json3-dev libcli11-dev'
welcome=                                                          # left out, with a word, where the system has no such package
case "${1-}" in
    '') ;;
    ci) wanted="$wanted clang libclang-rt-dev llvm clang-format doxygen"   # llvm: names for the sanitizers
        welcome='clang-16 clang-19 g++-aarch64-linux-gnu qemu-user-static' ;;
    *) echo "usage: sh cmake/setup.sh [ci]" >&2; exit 2 ;;
esac

fail() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

if ! have apt-get || ! have dpkg-query; then
    fail "this system has no apt-get. Install a C++20 compiler, CMake 3.25, Eigen 3.4, doctest, Google Benchmark, nlohmann-json and CLI11" \
         "with its own package manager, then run the cmake command alone."
fi

have "${CXX:-c++}" || have g++ || have clang++ || wanted="$wanted g++"
have cmake || wanted="$wanted cmake"
have make || have ninja || wanted="$wanted make"

missing=
for package in $wanted $welcome; do installed "$package" || missing="$missing $package"; done

if [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "not root and no sudo: ask for the packages$missing"
        as_root=sudo
    fi
    $as_root apt-get update -q || echo 'setup: apt-get update failed; trying with the package lists at hand' >&2
    for package in $welcome; do
        if ! apt-cache show "$package" >/dev/null 2>&1; then
            echo "setup: this system has no package $package: what needs it is left out"
            missing=$(echo "$missing " | sed "s/ $package / /; s/ *$//")
        fi
    done
fi
if [ -n "$missing" ]; then
    echo "setup: installing$missing"
    # shellcheck disable=SC2086  # a list of names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
else
    echo 'setup: nothing to install'
fi

# at_least 3.25 3.25.1: the second is not older than the first.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

cmake=$(cmake --version | sed -n 's/^cmake version //p')
at_least 3.25 "$cmake" || fail "CMake 3.25 or later is needed (workflow presets); found $cmake"

if [ -n "${CXX-}" ]; then compiler=$CXX; elif have c++; then compiler=c++; elif have g++; then compiler=g++; else compiler=clang++; fi
if $compiler --version | grep -q clang; then needed=14; else needed=12; fi
version=$($compiler -dumpversion)
at_least $needed "$version" || fail "g++ 12 or clang++ 14 or later is needed (C++20); $compiler is version $version. Name another by CXX=..."
echo "setup: ready, with $compiler $version and CMake $cmake"
