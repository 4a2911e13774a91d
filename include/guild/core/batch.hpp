#pragma once
#include <span>

namespace guild::inline v0 {

/// Random numbers given by the caller in place of generated ones: what stream `stream` draws, [T, count]. Draws from `count` on are generated.
struct given_draws {
    int stream = 0;                 ///< the name of who draws, a constant of the stage
    int count = 0;                  ///< numbers of one token
    const double* value = nullptr;  ///< [T, count]: in [0, 1) for uniform draws, else standard normal
};

/// Everything about a batch that is not x. All of it is optional; a list that is given has the length stated here.
struct batch {
    std::span<const int> token_id{};       ///< [T] ids in the vocabulary: routers that hash them
    std::span<const bool> padding{};       ///< [T] true: the token is routed nowhere and counts in no loss and no gradient, whatever its rows hold
    std::span<const int> sequence{};       ///< [B + 1] sequence b is tokens [sequence[b], sequence[b + 1])
    long first = 0;                        ///< position of token 0; token t has position first + t ...
    std::span<const long> position{};      ///< [T] ... or this one. Random draws depend on positions, not on rows
    unsigned long long seed = 0;           ///< of all random draws of the batch
    bool training = false;                 ///< noise, sampling, exploration
    std::span<const double> strength{};    ///< [losses of the model] factors of their weights, in their order: ReMoE's, adapted from step to step
    std::span<const given_draws> draws{};  ///< given random numbers, at most one entry per stream
    long step = 0;                         ///< of the training run: what schedules of losses go by
};

}  // namespace guild::inline v0
