#pragma once

/// Mixture-of-Experts layers of the DeepSeekMoE family: everything that needs Eigen alone. Read layer.hpp first, concepts.hpp second.
#include <guild/balance/device_losses.hpp>
#include <guild/balance/heterogeneous_loss.hpp>
#include <guild/balance/load_average.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/noisy_load_loss.hpp>
#include <guild/balance/schedule.hpp>
#include <guild/balance/sequence_losses.hpp>
#include <guild/balance/spread_losses.hpp>
#include <guild/balance/telemetry.hpp>
#include <guild/balance/weight_losses.hpp>
#include <guild/combine/mixture_objectives.hpp>
#include <guild/core/fp8.hpp>
#include <guild/core/half.hpp>
#include <guild/core/int4.hpp>
#include <guild/core/int8.hpp>
#include <guild/core/mxfp4.hpp>
#include <guild/core/random_weights.hpp>
#include <guild/cost/layer.hpp>
#include <guild/cost/paper.hpp>
#include <guild/cost/transformer.hpp>
#include <guild/layer.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/presets.hpp>
#include <guild/version.hpp>
