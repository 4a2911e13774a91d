#include <guild/guild.hpp>
