#include <support/gradient.hpp>
#include <support/noisy_gate.hpp>
#include <support/policies.hpp>

// Policies of a user: stages and losses with and without an adjoint of their own, weights on the input, holes, drops, learned numbers.

namespace {
using guild::config, guild::model, guild::residual, guild::passive;

struct on_the_input : model<config{.hidden = 4, .expert_hidden = 5, .routed_experts = 4, .top_k = 3, .shared_experts = 1, .expert_bias = true},
                            test::llama4_gate{}, residual::complement, passive{.identity = 1, .constant = 1}> {};
struct learned : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, test::learned_gate{},
                       passive{.zero = 1, .identity = 1, .constant = 1}, guild::expert_loss{.weight = 0.5}, test::curvature{}> {};
struct noisy : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 4, .top_k = 2, .shared_experts = 1}, noisy_gate{},
                     guild::z_loss{.weight = 0.3}> {};
struct any_number : model<config{.hidden = 3, .expert_hidden = 4, .routed_experts = 6, .top_k = 1, .shared_experts = 1}, test::threshold_gate{},
                          residual::complement, guild::expert_loss{.weight = 0.5}, guild::switch_loss{.weight = 0.2}> {};
struct dropping : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 4, .top_k = 2, .expert_bias = true}, test::capacity_gate{.most = 2},
                        residual::plain, passive{.identity = 1}, guild::expert_loss{.weight = 0.5}, guild::switch_loss{.weight = 0.2},
                        guild::z_loss{.weight = 0.3}, test::curvature{}> {};
struct comparing : model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 6, .top_k = 2}, test::comparing_gate{}, test::comparing_loss{},
                         test::curvature{}> {};
struct hashed : model<config{.hidden = 3, .expert_hidden = 2, .routed_experts = 5, .top_k = 2}, test::hash_gate{}, test::curvature{}> {};
struct least : model<config{.hidden = 1, .expert_hidden = 1, .routed_experts = 1, .top_k = 1}, test::llama4_gate{}, guild::silu{},
                     guild::z_loss{.weight = 2}> {};
}  // namespace

TEST_CASE_TEMPLATE("gradients of gates and losses of a user", Model, on_the_input, learned, noisy, any_number, dropping, comparing, least) {
    for (const long T : {0, 1, 7}) test::check_gradients<Model>(T, {.seed = 4, .training = true});
}

TEST_CASE_TEMPLATE("gradients of gates and losses of a user, with padded tokens", Model, on_the_input, learned, any_number, dropping, comparing) {
    const bool some[] = {true, false, false, true, false, false, false};
    test::check_gradients<Model>(7, {.padding = some});
}

TEST_CASE("gradients of a gate that reads token ids") {
    const int id[] = {4, 0, 0, 12};
    test::check_gradients<hashed>(4, {.token_id = id});
}

TEST_CASE("gradients of learned numbers over several partial sums") { test::check_gradients<learned>(70, {}, {.entries = 4, .differences = 2}); }
