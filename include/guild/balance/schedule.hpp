#pragma once
#include <guild/balance/routing.hpp>

#include <cmath>

/// The strength of a loss or of a balancer over a training run: `factor(step)` of a schedule times the weight of the loss, step = batch::step, or
/// times the rate of the balancer, step = what rebalance is given.
namespace guild::inline v0 {

/// 1 throughout.
struct constant_schedule {
    static constexpr double factor(long) { return 1; }
};
/// step / steps, linear from 0, then 1.
struct warm_up {
    long steps = 1000;  ///< until the factor is 1
    constexpr double factor(long step) const { return step >= steps ? 1 : step <= 0 ? 0 : static_cast<double>(step) / static_cast<double>(steps); }
};
/// Half a cosine from 1 down to `end` at `steps`, then `end`. Loshchilov & Hutter, arXiv:1608.03983, eq. 5, without restarts.
struct cosine_decay {
    long steps = 1000;  ///< of the half cosine
    double end = 0;     ///< the factor that it ends at
    constexpr bool valid() const { return is_finite(end); }
    double factor(long step) const {
        if (step >= steps) return end;
        const double done = step <= 0 ? 0 : static_cast<double>(step) / static_cast<double>(steps);
        return end + (1 - end) * 0.5 * (1 + std::cos(3.141592653589793 * done));
    }
};

/// 1 before `steps`, `end` from there on. DeepSeek-V3 stops moving its bias so for the last 500 of 14800 billion tokens, arXiv:2412.19437,
/// section 4.2.
struct step_decay {
    long steps = 1000;  ///< before the factor changes
    double end = 0;     ///< the factor from there on; 0 switches off
    constexpr bool valid() const { return is_finite(end); }
    constexpr double factor(long step) const { return step < steps ? 1 : end; }
};

/// A loss whose weight follows a schedule. It may be given where the loss may.
///
///     struct mine : guild::model<numbers, guild::scheduled{guild::z_loss{.weight = 1e-3}, guild::warm_up{.steps = 2000}}> {};
template <class Loss, class Schedule> struct scheduled {
    Loss loss{};                  ///< what is scheduled, its own weight included
    Schedule schedule{};          ///< factor(step) of its weight
    double weight = loss.weight;  ///< where the factor is 1
    constexpr scheduled() = default;
    /// The loss, and the schedule of its weight.
    constexpr scheduled(Loss l, Schedule s) : loss(l), schedule(s) {}

    constexpr bool fits(int experts) const requires requires(const Loss& l) { l.fits(experts); }
    { return loss.fits(experts); }
    constexpr bool valid() const {
        bool all = is_finite(weight);
        if constexpr (requires { loss.valid(); }) all = all && loss.valid();
        if constexpr (requires { schedule.valid(); }) all = all && schedule.valid();
        return all;
    }
    static constexpr bool reads_scores = requires { requires Loss::reads_scores; };
    template <class S> S value(const routing<S>& r) const { return now(r).value(r); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const requires requires(const Loss& l) { l.backward(r, g); }
    { now(r).backward(r, g); }

private:
    template <class S> Loss now(const routing<S>& r) const {
        Loss l = loss;
        l.weight = weight * schedule.factor(r.side->step);
        return l;
    }
};
/// Either of them from what it is made of.
template <class Loss, class Schedule> scheduled(Loss, Schedule) -> scheduled<Loss, Schedule>;

namespace detail {
template <class Balancer> concept has_rate = requires(const Balancer& b, const long* load, float* state) {
    b.rate;
    b.update(load, 1L, state, 1);
};
template <class Balancer> struct same_state {};
template <class Balancer>
requires requires { typename Balancer::moves; }
struct same_state<Balancer> {
    using moves = typename Balancer::moves;
};
}  // namespace detail

/// A balancer whose rate follows a schedule, given where the balancer may, and moved by rebalance(w, load, step).
///
///     struct mine : guild::model<numbers, guild::deepseek_v3_gate{},
///                                guild::scheduled{guild::bias_balance{.rate = 1e-3}, guild::step_decay{.steps = 100000}}> {};
template <detail::has_rate Balancer, class Schedule> struct scheduled<Balancer, Schedule> : detail::same_state<Balancer> {
    Balancer balancer{};          ///< what is scheduled, its own rate included
    Schedule schedule{};          ///< factor(step) of its rate
    double rate = balancer.rate;  ///< where the factor is 1
    constexpr scheduled() = default;
    /// The balancer, and the schedule of its rate.
    constexpr scheduled(Balancer b, Schedule s) : balancer(b), schedule(s) {}

    constexpr bool valid() const {
        bool all = is_finite(rate);
        if constexpr (requires { balancer.valid(); }) all = all && balancer.valid();
        if constexpr (requires { schedule.valid(); }) all = all && schedule.valid();
        return all;
    }
    /// load [E] with sum `total`; state [E] moved as by the balancer at this step.
    template <class R> void update(const long* load, long total, R* state, int experts, long step) const {
        Balancer b = balancer;
        b.rate = rate * schedule.factor(step);
        b.update(load, total, state, experts);
    }
};

}  // namespace guild::inline v0
