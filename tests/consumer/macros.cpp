// A unit that meets guild after headers of C have left their macros: the real headers that are at hand, then, with GUILD_LISTED, the list of
// support/. Compiled only.
#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(GUILD_LISTED)
#include <support/macros_after_all.hpp>
#else
#include <complex.h>
#include <fcntl.h>
#include <resolv.h>
#include <sys/dir.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/sysmacros.h>
#include <termios.h>
#if __has_include(<X11/Xlibint.h>)
#include <X11/Xlibint.h>
#include <X11/Xos.h>
#endif
#endif

#include <guild/guild.hpp>
#include <guild/io/safetensors.hpp>
