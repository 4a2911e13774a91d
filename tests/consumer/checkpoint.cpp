#include <guild/io/safetensors.hpp>
