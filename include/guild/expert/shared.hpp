#pragma once
#include <guild/core/scalar.hpp>

/// How the shared experts enter the output: y += factor(x . v) shared(x), with v [H] learned, or just shared(x).
namespace guild::inline v0 {

/// y += shared(x). DeepSeekMoE, arXiv:2401.06066, eq. 9.
struct plain_shared {
    static constexpr bool learned = false;
    template <class S> S factor(S) const { return S(1); }
};
/// y += sigmoid(x . v) shared(x). Qwen1.5-MoE, Qwen2-MoE.
struct gated_shared {
    static constexpr bool learned = true;
    template <class S> S factor(S logit) const { return logistic(logit); }
};

}  // namespace guild::inline v0
