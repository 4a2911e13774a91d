#pragma once
#include <guild/gate/classic_gates.hpp>
#include <guild/gate/deepseek_gates.hpp>
#include <guild/gate/open_gates.hpp>
#include <guild/gate/research_gates.hpp>

/// All published routers.
