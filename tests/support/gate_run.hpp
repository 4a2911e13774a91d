#pragma once
#include <guild/backend/host.hpp>
#include <guild/gate/run.hpp>

#include <algorithm>
#include <vector>

namespace test {

/// The draws of one case of a randomised test, by its number.
struct dice {
    unsigned long long seed = 0;
    double uniform(int stream, long i) const { return guild::uniform(seed, 1000 + stream, 0, i); }
    double normal(int stream, long i) const { return guild::normal(seed, 1000 + stream, 0, i); }
    /// One of [least, most].
    int number(int stream, int least, int most) const { return least + static_cast<int>(uniform(stream, 0) * (most - least + 1)); }
    bool chance(int stream, double p, long i = 0) const { return uniform(stream, i) < p; }
    std::vector<double> normals(int stream, long n, double scale = 1) const {
        std::vector<double> v;
        for (long i = 0; i < n; ++i) v.push_back(scale * normal(stream, i));
        return v;
    }
};

/// A gate over E experts of which K are chosen, run by plain loops on logits [T, E + X].
template <class Gate, class S = double> struct gate_run {
    struct sizes {
        Gate gate;
        guild::any_extent<32> n;
        constexpr auto stages() const { return gate.stages(); }
        constexpr auto extent() const { return n; }
    } model;
    long T;
    int E, P, W;
    std::vector<S> logit;
    guild::batch side;
    guild::gate_data<S> data;
    guild::gate_result<S> result;

    gate_run(const Gate& gate, int experts, int K, std::vector<S> logits, const guild::batch& b, const guild::gate_data<S>& d = {})
        : model{gate, {experts, gate.stages().extra(experts), gate.stages().slots(experts, K)}},
          T(0),
          E(experts),
          P(E + model.n.extra),
          W(model.n.slots),
          logit(std::move(logits)),
          side(b),
          data(d) {
        T = static_cast<long>(logit.size()) / P;
        guild::gate::forward(guild::backend::reference{}, model, data, side, seen(), result);
    }
    gate_run(const gate_run&) = delete;

    guild::view<const S> seen() const { return {logit.data(), T, P}; }
    S number(long t, int e) const { return logit[static_cast<std::size_t>(t * P + e)]; }
    int expert(long t, int k) const { return result.choice.expert[t * W + k]; }
    S weight(long t, int k) const { return result.choice.weight[t * W + k]; }
    bool padded(long t) const { return guild::gate::padded(side, t); }
    long count(int e) const { return std::count(result.choice.expert.data(), result.choice.expert.data() + T * W, e); }
    /// d_weight [T, W] -> gradient by the logits [T, P]
    std::vector<S> gradient(const std::vector<S>& d_weight, S* d_learned = nullptr) {
        std::vector<S> d(logit.size(), S(0)), none(static_cast<std::size_t>(model.stages().learned(E)));
        guild::buffer<S> partial;
        guild::gate::backward(guild::backend::reference{}, model, data, side, seen(), result, {.weight = {d_weight.data(), T, W}},
                              guild::view<S>{d.data(), T, P}, d_learned ? d_learned : none.data(), partial);
        return d;
    }
};

}  // namespace test
