#pragma once
#include <guild/balance/losses.hpp>

#include <algorithm>

/// Balance among devices, each of which holds an equal run of experts.
namespace guild::inline v0 {

/// weight sum_d f'_d P'_d over `devices` runs of experts: f'_d the mean of expert_loss's f_i on the device, P'_d the sum of its P_i;
/// equal loads of softmax scores give weight. DeepSeekMoE, arXiv:2401.06066, eq. 15-17; DeepSeek-V2, arXiv:2405.04434, eq. 26-28.
struct device_loss {
    static constexpr bool reads_scores = true;
    double weight = 0.05;  ///< times the loss; published 0.05
    int devices = 1;       ///< D, equal runs of experts: divides E
    constexpr bool fits(int experts) const { return devices >= 1 && experts % devices == 0; }
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight, share(r), g);
    }

private:
    template <class S> std::span<double> share(const routing<S>& r) const {
        const auto f = detail::wanted_share(r);
        const std::size_t size = f.size() / static_cast<std::size_t>(devices);
        for (std::size_t first = 0; first + size <= f.size(); first += size) {
            double mean = 0;
            for (std::size_t i = first; i < first + size; ++i) mean += f[i] / static_cast<double>(size);
            std::fill_n(f.begin() + static_cast<long>(first), size, mean);
        }
        return f;
    }
};

/// weight sum_d f''_d P''_d: f''_d = D / (M T) times the tokens with an expert on device d, P''_d the sum of P_i there, M = `reach` the
/// devices that a token may reach. Equal loads give weight only if every token reaches M. DeepSeek-V2, arXiv:2405.04434, eq. 29-31.
struct communication_loss {
    static constexpr bool reads_scores = true;
    double weight = 0.02;  ///< times the loss: published 0.02
    int devices = 1;       ///< D, equal runs of experts: divides E
    int reach = 1;         ///< M: devices that a token may reach, keep of group_limit
    constexpr bool fits(int experts) const { return devices >= 1 && experts % devices == 0 && reach >= 1 && reach <= devices; }
    template <class S> S value(const routing<S>& r) const { return detail::load_times_score(r, weight, share(r)); }
    template <class S> void backward(const routing<S>& r, const routing_gradient<S>& g) const {
        detail::load_times_score_backward(r, weight, share(r), g);
    }

private:
    template <class S> std::span<double> share(const routing<S>& r) const {
        const int size = r.experts / devices;
        const auto sent = r.template zeros<double>(devices), f = r.template zeros<double>(r.experts);
        const auto seen = r.template zeros<char>(devices);
        const double one = devices / (reach * static_cast<double>(r.tokens()));
        r.each([&](long t) {
            std::fill(seen.begin(), seen.end(), char(0));
            for (long i = t * r.slots; i < (t + 1) * r.slots; ++i)
                if (r.wanted[i] != no_expert) seen[static_cast<std::size_t>(r.wanted[i] / size)] = 1;
            for (std::size_t d = 0; d < seen.size(); ++d) sent[d] += seen[d] * one;
        });
        for (std::size_t e = 0; e < f.size(); ++e) f[e] = sent[e / static_cast<std::size_t>(size)];
        return f;
    }
};

}  // namespace guild::inline v0
