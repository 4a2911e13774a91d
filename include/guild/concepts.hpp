#pragma once
#include <guild/balance/routing.hpp>
#include <guild/combine/residual.hpp>
#include <guild/dispatch/groups.hpp>
#include <guild/format/stack.hpp>
#include <guild/gate/pipeline.hpp>

#include <concepts>

/// Every contract of the library, each with a minimal example. A policy is a structural aggregate: public numbers with
/// defaults, no virtual functions; its kind is recognised by the member named here. Any may have `valid()`: whether its numbers can be used.
///
/// Policies of the model say what is computed and may change results. Formats, backends and executors say how, and may not,
/// beyond rounding.
namespace guild::inline v0 {

/// Which experts, with which weight: a list of stages. `weighs_input = true`: the weight multiplies what the expert reads.
///
///     struct my_gate { double scale = 2; constexpr auto stages() const { return pipeline{top_k{}, weigh{times{scale}}}; } };
/// Optional: input(), what the router alone reads; weighs_shared = true, its stages leave weights of the shared experts in row.extra.
template <class P> concept gate_policy = requires(const P& p) { p.stages(); };

/// One step for one token, in place on its row. Optional members, and what leaving them out means:
///
///     backward(t, in, out, g)   derived from forward in reverse mode: exact, a small multiple of its cost; on a device by dual numbers, E times dearer
///     decide(crowd)             the stage does not look across tokens
///     slots(E, K)               W = K
///     extra(E)                  no extra logits      learned(E), state(E)   no numbers      fits(E, K)   any numbers fit
///     needs_token_id = true     it reads no token ids     needs_table = true   nor the weights' table of experts by token id
///     needs_previous = true     it reads no logits of the layer before
///     scores = true             losses do not read the scores as it leaves them
///     logits = true             what it leaves are not logits (a leading stage that changes them says so, for losses)
///     reads, writes             what it touches of the row is not known (row_part), and its place among other stages never refused
/// Written with the row's each, sum, max, at, best it runs as a plain loop and on a warp; inside `each` touch the own e alone. Scores are compared,
/// mixed with real numbers and passed to the functions of core/functions.hpp, found as guild::name; `value(s)` is the number without derivative.
///
///     struct cool { double by = 2; void forward(const auto&, auto& r) const { r.each([&](int e) { r.score[e] = r.score[e] / by; }); } };
template <class P> concept stage = requires(const P& p, const token<double>& t, row<double, extent<4, 4, 2>>& r) { p.forward(t, r); };

/// What the router reads in place of x [H]: out [H] =, dx +=, d_learned +=. Optional: learned(H), no numbers; valid().
///
///     struct halved_input {
///         void forward(const auto& t, const auto* x, long H, const auto* learned, auto* out) const {
///             for (long h = 0; h < H; ++h) out[h] = x[h] / 2;
///         }
///         void backward(const auto& t, const auto* x, long H, const auto* learned, const auto* d_out, auto* dx, auto* d_learned) const {
///             for (long h = 0; h < H; ++h) dx[h] += d_out[h] / 2; } };
template <class P> concept input_policy = requires(const P& p, const token<double>& t, const double* in, double* out) {
    p.forward(t, in, 1L, in, out);
    p.backward(t, in, 1L, in, in, out, out);
};

/// What an expert does between its matrices. inputs = 2: a = act(gate, up); inputs = 1: a = act(up). Called with dual numbers too.
///
///     struct bilinear { static constexpr int inputs = 2; auto operator()(auto g, auto u) const { return g * u; } };
template <class P> concept activation_policy = requires {
    { P::inputs } -> std::convertible_to<int>;
    requires P::inputs == 1 || P::inputs == 2;
};

/// How the shared experts enter: y += factor(x . v) shared(x) with v [H] learned, or y += shared(x) if not `learned`.
///
///     struct halved { static constexpr bool learned = false; auto factor(auto s) const { return decltype(s)(1); } };
template <class P> concept shared_policy = requires(const P& p, double s) {
    p.factor(s);
    { P::learned } -> std::convertible_to<bool>;
};

/// How many experts without matrices follow the routed ones, by kind. guild::passive is the one.
template <class P> concept passive_policy = requires(const P& p) {
    p.zero;
    p.identity;
    p.constant;
    p.blend;
};

/// A scalar function of the routing, added to the training loss, times its own `weight`. Optional: `backward(routing, gradient)`, else derived
/// from `value` in reverse mode, at any size, with 32 bytes for each of its operations; `fits(E)`; reads_scores = true, a gate without a score
/// stage is refused. `guild::scheduled` gives it a schedule: factor(step).
///
///     struct decay { double weight = 1; template <class S> S value(const routing<S>& r) const { ... } };
template <class P> concept loss_policy = requires(const P& p, const routing<double>& r) {
    p.weight;
    { p.value(r) } -> std::same_as<double>;
};

namespace detail {
template <class P> concept moved_by_load = requires(const P& p, const long* load, float* state) { p.update(load, 1L, state, 1); };
template <class P> concept moved_by_step = requires(const P& p, const long* load, float* state) { p.update(load, 1L, state, 1, 1L); };
}  // namespace detail

/// Moves the gate's state after a batch, from its load [E] with sum `total`; state [E] updated in place. Optional: a last parameter `long step`, the
/// one that rebalance is given; `moves`, the stage whose state it is: a gate without that stage is refused. `guild::scheduled` gives one with a
/// `rate` a schedule: factor(step).
///
///     struct still { void update(const long* load, long total, auto* state, int E) const {} };
template <class P> concept balancer_policy = detail::moved_by_load<P> || detail::moved_by_step<P>;

template <class P> concept residual_policy = std::same_as<P, residual>;

template <class P>
concept policy =
    gate_policy<P> || activation_policy<P> || shared_policy<P> || passive_policy<P> || loss_policy<P> || balancer_policy<P> || residual_policy<P>;

/// What runs f on disjoint ranges that cover [0, n), and returns when all have ended. It may be called from several threads and
/// from inside f; an exception of f reaches the caller.
/// Optional: size(), how many threads it has, for which work is then cut.
///
///     struct inline_executor { template <class F> void run(long n, F&& f) const { if (n > 0) f(0L, n); } };
template <class X> concept executor = requires(const X& x) {
    x.run(1L, [](long, long) {});
};

/// Who computes: the eight steps of a layer, and the memory they work in. Derive from backend::host, which has them in plain loops in terms of three
/// matrix products over groups of rows and a loop, and override products, or steps that you name in `overrides`; or write all of them, for memory that
/// is not the host's. backend/host.hpp lists what a layer asks for; results must not differ beyond rounding. Optional for packed_weights, const:
///
///     pack(view of a network, E, F, H)     its own layout, which may have unpack(executor, weights of its size); pack_router(view, P, H) the same
///                                          of a router
///     check_packed(packed network)         throws argument_error if it is packed for another backend
///     packer                               a type: the backend whose packed weights it takes, where that is not its own
template <class B> concept compute_backend = requires {
    typename B::template matrix<const double>;
    typename B::template workspace<double>;
    typename B::template tape<double>;
    typename B::batch;
};

}  // namespace guild::inline v0
