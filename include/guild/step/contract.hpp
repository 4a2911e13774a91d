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
/// The eight steps; a sentence for each that does not fit.
template <class Backend, class C, class Workspace, class Tape> constexpr bool fits() {
    using S = typename C::S;
    constexpr const Backend* backend = nullptr;
    constexpr const C* c = nullptr;
    constexpr typename Backend::template matrix<const S>* x = nullptr;
    constexpr typename Backend::template matrix<S>* y = nullptr;
    constexpr const typename Backend::batch* side = nullptr;
    constexpr Workspace* ws = nullptr;
    constexpr Tape* tp = nullptr;
    GUILD_STEP(logits, "(c, x, side, workspace)", (*c, *x, *side, *ws))
    GUILD_STEP(logits, "(c, x, side, tape)", (*c, *x, *side, *tp))
    GUILD_STEP(choose, "(c, side, workspace)", (*c, *side, *ws))
    GUILD_STEP(choose, "(c, side, tape)", (*c, *side, *tp))
    GUILD_STEP(dispatch, "(c, workspace)", (*c, *ws))
    GUILD_STEP(dispatch, "(c, tape)", (*c, *tp))
    GUILD_STEP(experts, "(c, x, workspace, y)", (*c, *x, *ws, *y))
    GUILD_STEP(experts, "(c, x, tape, y)", (*c, *x, *tp, *y))
    return true;
}
/// Those of a backward, looked at where one is compiled: packed weights have none.
template <class Backend, class C, class Tape, class Gradients> constexpr bool fits_backward() {
    using S = typename C::S;
    constexpr const Backend* backend = nullptr;
    constexpr const C* c = nullptr;
    constexpr typename Backend::template matrix<const S>* dy = nullptr;
    constexpr typename Backend::template matrix<S>* dx = nullptr;
    constexpr Tape* tp = nullptr;
    constexpr Gradients* grad = nullptr;
    GUILD_STEP(experts_backward, "(c, dy, dx, grad, tape)", (*c, *dy, *dx, *grad, *tp))
    GUILD_STEP(losses_backward, "(c, grad, tape)", (*c, *grad, *tp))
    GUILD_STEP(choose_backward, "(c, grad, tape)", (*c, *grad, *tp))
    GUILD_STEP(logits_backward, "(c, dx, grad, tape)", (*c, *dx, *grad, *tp))
    return true;
}
#undef GUILD_STEP

}  // namespace guild::inline v0::detail
