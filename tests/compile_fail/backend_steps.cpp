// expect: guild::layer: the backend's `overrides` and its experts\(c, x, workspace, y\) do not agree: it names the steps that are not host's
// expect: guild::layer: the backend's `overrides` and its experts\(c, x, tape, y\) do not agree
// expect: guild::layer: the backend's `overrides` and its dispatch\(c, workspace\) do not agree
// expect: guild::layer: the backend's `overrides` and its dispatch\(c, tape\) do not agree
// expect: guild::layer: the backend's experts\(c, x, workspace, y\) does not take what the layer gives it
// expect: guild::layer: the backend's experts\(c, x, tape, y\) does not take what the layer gives it
// expect: guild::layer: the backend's choose\(c, side, tape\) does not take what the layer gives it
#include <guild/guild.hpp>

using guild::overridden, guild::view, guild::backend::host;
struct mixture : guild::model<guild::config{.hidden = 8, .expert_hidden = 8, .routed_experts = 4, .top_k = 2}> {};
template <class Backend> inline constexpr bool of = sizeof(guild::layer<mixture, float, Backend>) > 0;

struct named_and_misspelt : host {
    static constexpr unsigned overrides = overridden::experts;
    void expert(const auto&, auto, auto&, auto) const {}
};
static_assert(of<named_and_misspelt>);

struct not_named : host {
    void dispatch(const auto&, auto&) const {}
};
static_assert(of<not_named>);

struct mistyped : host {
    static constexpr unsigned overrides = overridden::experts;
    void experts(const auto&, view<float>, auto&, view<const float>) const {}
};
static_assert(of<mistyped>);

struct without_tape : host {
    static constexpr unsigned overrides = overridden::choose;
    template <class C, class S> void choose(const C&, const guild::batch&, guild::workspace<S>&) const {}
};
static_assert(of<without_tape>);
