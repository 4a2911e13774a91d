#pragma once
#include <guild/step/context.hpp>

#include <concepts>
#include <utility>

/// What a layer asks of its backend, step by step: each takes what the layer gives it, and is the backend's own if and only if `overrides` names it.
namespace guild::inline v0::detail {

template <class B> constexpr unsigned overrides_of() {
    if constexpr (requires { B::overrides; }) return B::overrides;
    else return 0;
}
/// Whether a step that returns R is named as it should be. One that is not built on host returns what it likes.
template <class B, class R> constexpr bool named(unsigned step) {
    return ((overrides_of<B>() & step) != 0) == !std::same_as<R, of_host> || !requires { B::overrides; };
}
#define GUILD_STEP(step, given, arguments)                                                                                           \
    static_assert(                                                                                                                   \
        requires { backend->step arguments; }, "guild::layer: the backend's " #step given " does not take what the layer gives it"); \
    if constexpr (requires { backend->step arguments; })                                                                             \
        static_assert(named<Backend, decltype(backend->step arguments)>(overridden::step),                                           \
                      "guild::layer: the backend's `overrides` and its " #step given " do not agree: it names the steps that are not host's");
/// The steps forward, and if `Backward` those back: a layer over packed weights has none. A sentence for each that does not fit.
template <class Backend, class C, class Workspace, class Tape, class Gradients, bool Backward> constexpr bool fits() {
    using S = typename C::S;
    constexpr const Backend* backend = nullptr;
    constexpr const C* c = nullptr;
    constexpr typename Backend::template matrix<const S>* in = nullptr;
    constexpr typename Backend::template matrix<S>* out = nullptr;
    [[maybe_unused]] constexpr const typename Backend::batch* side = nullptr;
    [[maybe_unused]] constexpr Workspace* ws = nullptr;
    constexpr Tape* tp = nullptr;
    [[maybe_unused]] constexpr Gradients* grad = nullptr;
    if constexpr (Backward) {
        GUILD_STEP(experts_backward, "(c, dy, dx, grad, tape)", (*c, *in, *out, *grad, *tp))
        GUILD_STEP(losses_backward, "(c, grad, tape)", (*c, *grad, *tp))
        GUILD_STEP(choose_backward, "(c, grad, tape)", (*c, *grad, *tp))
        GUILD_STEP(logits_backward, "(c, dx, grad, tape)", (*c, *out, *grad, *tp))
    } else {
        GUILD_STEP(logits, "(c, x, side, workspace)", (*c, *in, *side, *ws))
        GUILD_STEP(logits, "(c, x, side, tape)", (*c, *in, *side, *tp))
        GUILD_STEP(choose, "(c, side, workspace)", (*c, *side, *ws))
        GUILD_STEP(choose, "(c, side, tape)", (*c, *side, *tp))
        GUILD_STEP(dispatch, "(c, workspace)", (*c, *ws))
        GUILD_STEP(dispatch, "(c, tape)", (*c, *tp))
        GUILD_STEP(experts, "(c, x, workspace, y)", (*c, *in, *ws, *out))
        GUILD_STEP(experts, "(c, x, tape, y)", (*c, *in, *tp, *out))
    }
    return true;
}
#undef GUILD_STEP

}  // namespace guild::inline v0::detail
