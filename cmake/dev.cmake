# What the tests, examples and benchmarks are compiled with; guild::guild itself carries no flag.
add_library(guild_dev INTERFACE)
set(warnings
    -Wall -Wextra -Wpedantic
    -Wshadow        # a parameter that hides a member
    -Wconversion    # a count that loses bits
    -Wsign-conversion   # a negative number as a count
    $<IF:$<CXX_COMPILER_ID:GNU>,-Wcast-align=strict,-Wcast-align>)   # numbers read where none may lie
target_compile_options(guild_dev INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>"
    # GCC bugs 105593 (every AVX-512 intrinsic without a mask, so every product of Eigen) and 105651 (every std::string + char).
    "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized;-Wno-restrict>"
    # std::stable_sort of libstdc++ 12 asks for memory in a way that is deprecated since C++17.
    "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>"
    # Not -Wpedantic: the code that nvcc generates is full of line directives in GNU style.
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>")
