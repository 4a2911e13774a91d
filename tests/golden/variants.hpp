#pragma once
#include <guild/gate/published/gates.hpp>

/// Gates of files that are a published gate with one constant or stage changed.
namespace golden {

using namespace guild;

struct normalised_deepseek_moe {
    constexpr auto stages() const { return pipeline{score{softmax{}}, top_k{}, weigh{unit_sum{1e-20}}}; }
};
struct v3_with_fill {
    int groups = 1, keep = 1;
    double scale = 1;
    constexpr auto stages() const {
        return pipeline{score{sigmoid{}}, selection_bias{},       group_limit{.groups = groups, .keep = keep, .by = group_score::top2_sum, .fill = 0},
                        top_k{},          weigh{unit_sum{1e-20}}, weigh{times{scale}}};
    }
};
struct v3_without_norm {
    int groups = 1, keep = 1;
    double scale = 1;
    constexpr auto stages() const {
        return pipeline{score{sigmoid{}}, selection_bias{}, group_limit{.groups = groups, .keep = keep, .by = group_score::top2_sum}, top_k{},
                        weigh{times{scale}}};
    }
};

}  // namespace golden
