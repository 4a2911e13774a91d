#pragma once

/// Mixture-of-Experts layers of the DeepSeekMoE family: everything that needs Eigen alone. Read layer.hpp first, concepts.hpp second.
#include <guild/backend/eigen.hpp>
#include <guild/balance/device_losses.hpp>
#include <guild/balance/heterogeneous_loss.hpp>
#include <guild/balance/load_average.hpp>
#include <guild/balance/losses.hpp>
#include <guild/balance/noisy_load_loss.hpp>
#include <guild/balance/schedule.hpp>
#include <guild/balance/sequence_losses.hpp>
#include <guild/balance/spread_losses.hpp>
#include <guild/balance/weight_losses.hpp>
#include <guild/cost/layer.hpp>
#include <guild/cost/paper.hpp>
#include <guild/cost/transformer.hpp>
#include <guild/format/fp8.hpp>
#include <guild/format/half.hpp>
#include <guild/format/int4.hpp>
#include <guild/format/int8.hpp>
#include <guild/format/mxfp4.hpp>
#include <guild/layer.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/presets.hpp>
#include <guild/step/objectives.hpp>
#include <guild/telemetry/numbers.hpp>
#include <guild/version.hpp>
#include <guild/weights/random.hpp>
