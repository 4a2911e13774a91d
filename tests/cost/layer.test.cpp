#include <guild/cost/transformer.hpp>

#include <doctest/doctest.h>

#include <limits>

// The figures themselves are static assertions, tests/static/cost.cpp.

TEST_CASE("counts that are no counts are refused at run time") {
    const guild::cost::mixture layer{.config = {.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2}};
    CHECK_THROWS_WITH_AS(layer.forward_flops(-1), "guild::cost: tokens is -1.000000, expected at least 0", guild::argument_error);
    CHECK_THROWS_AS(layer.backward_flops(std::numeric_limits<double>::quiet_NaN()), guild::argument_error);
    CHECK_THROWS_AS(layer.experts_reached(-1), guild::argument_error);
    CHECK_THROWS_AS(layer.weight_bytes(-1), guild::argument_error);
    CHECK_THROWS_AS(layer.weight_bytes(1, -1), guild::argument_error);
    CHECK_THROWS_AS(layer.activation_bytes(-1), guild::argument_error);
    const guild::cost::transformer whole{.layer = layer, .attention = {}, .layers = 1, .vocabulary = 10};
    CHECK_THROWS_AS(whole.training_flops(-1), guild::argument_error);
}

TEST_CASE("biases are counted where there is a network, and where the model has them") {
    guild::cost::mixture layer{.config = {.hidden = 3, .expert_hidden = 5, .routed_experts = 7, .top_k = 2, .shared_bias = true}};
    CHECK(layer.shared_parameters() == 0);  // no shared expert
    layer.config.shared_experts = 2;
    CHECK(layer.shared_parameters() == 3 * 3 * 10 + 2 * 10 + 3);
    CHECK(layer.expert_parameters() == 3 * 3 * 5);
    layer.config.expert_bias = true;
    CHECK(layer.expert_parameters() == 3 * 3 * 5 + 2 * 5 + 3);
}
