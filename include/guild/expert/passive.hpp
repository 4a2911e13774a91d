#pragma once

namespace guild::inline v0 {

/// Experts without matrices. They follow the routed ones: ids E .. E + zero - 1 give 0, then `identity` ids give x, then
/// `constant` ids give a learned vector [H] each. LongCat-Flash, arXiv:2509.01322; MoE++, arXiv:2410.07348.
struct passive {
    int zero = 0, identity = 0, constant = 0;
    constexpr int count() const { return zero + identity + constant; }
};

}  // namespace guild::inline v0
