# The API reference: `cmake --build <build> --target docs` writes docs/html/index.html into the build folder. Warnings, of which one is a public
# name without a comment, are errors where the compiler's are.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
    return()
endif()

set(DOXYGEN_PROJECT_NAME guild)
set(DOXYGEN_PROJECT_NUMBER ${PROJECT_VERSION})
set(DOXYGEN_PROJECT_BRIEF ${PROJECT_DESCRIPTION})
set(DOXYGEN_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/docs)
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_FILE_PATTERNS *.hpp *.cuh)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${PROJECT_SOURCE_DIR}/cmake/docs.md)
set(DOXYGEN_EXTENSION_MAPPING cuh=C++)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_IF_UNDOCUMENTED YES)
if(CMAKE_COMPILE_WARNING_AS_ERROR)
    set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
endif()

# What marks a function for the host and the device, or a kernel, is no part of its signature.
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED GUILD_HOST_DEVICE= __global__= __device__= "__launch_bounds__(n)=")
set(DOXYGEN_INPUT_FILTER "awk -f ${PROJECT_SOURCE_DIR}/cmake/docs.awk")

# What runs below the names of users: how the CPU's backend and the steps of a layer go, checks of arguments, lent memory, how the order of stages
# is read and who shares the experts of a row, and reverse mode, which a policy meets as a scalar that it does not name.
set(DOXYGEN_EXCLUDE
    backend/cpu/environment.hpp backend/cpu/fused.hpp backend/cpu/kernels.hpp backend/cpu/layout.hpp backend/cpu/memory.hpp
    backend/cpu/one_row.hpp backend/cpu/order.hpp backend/cpu/packed_matrix.hpp backend/cpu/packed_network.hpp backend/cpu/products.hpp
    backend/cpu/regions.hpp backend/cpu/share.hpp backend/cpu/strategy.hpp backend/cpu/sweep.hpp backend/cpu/table.hpp
    backend/gemm.hpp backend/tile.hpp
    core/exp.hpp core/finite.hpp core/in_use.hpp core/present.hpp core/room.hpp core/rule.hpp core/scratch.hpp core/variable.hpp
    format/minifloat.hpp
    gate/adjoint.hpp gate/lanes.hpp gate/order.hpp gate/warp.hpp
    step/check.hpp step/combine.hpp step/contract.hpp step/dispatch.hpp step/expert.hpp step/gate.hpp step/lender.hpp step/losses.hpp step/memory.hpp
    step/shared.hpp
    weights/check.hpp)
list(TRANSFORM DOXYGEN_EXCLUDE PREPEND ${PROJECT_SOURCE_DIR}/include/guild/)

# Names in detail are nobody's but the library's; the equality of values is memberwise; a policy that is differentiated meets `dual` as a scalar
# that it does not name.
set(DOXYGEN_EXCLUDE_SYMBOLS *detail* *::detail::* *slope* dual operator==)

doxygen_add_docs(docs ${PROJECT_SOURCE_DIR}/include/guild ${PROJECT_SOURCE_DIR}/cmake/docs.md
    COMMENT "API reference: ${PROJECT_BINARY_DIR}/docs/html/index.html")
