#pragma once
#include <guild/gate/published/classic.hpp>
#include <guild/gate/published/deepseek.hpp>
#include <guild/gate/published/open.hpp>
#include <guild/gate/published/research.hpp>

/// All published routers.
