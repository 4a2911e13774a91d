#pragma once

/// Mixture-of-Experts layers of the DeepSeekMoE family: everything that needs Eigen alone. Read layer.hpp first, concepts.hpp second.
#include <guild/balance/losses.hpp>
#include <guild/cost/layer.hpp>
#include <guild/cost/paper.hpp>
#include <guild/cost/transformer.hpp>
#include <guild/layer.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/presets.hpp>
#include <guild/version.hpp>
