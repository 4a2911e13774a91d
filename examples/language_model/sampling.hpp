#pragma once
#include "model.hpp"
#include "random.hpp"

#include <numeric>

namespace language_model {

struct sampling {
    double temperature = 0.7;  ///< 0: always the most likely byte
    double nucleus = 0.95;     ///< of the most likely bytes, as many as make up this probability (Holtzman et al. 2020)
};

/// One byte from logits [256], where u is a uniform number in [0, 1). Equal logits: the lower byte first.
template <class S> std::uint8_t choose(const S* logits, const sampling& how, double u) {
    std::vector<int> order(vocabulary);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    if (how.temperature <= 0) return static_cast<std::uint8_t>(order[0]);
    std::vector<double> weight;
    for (const int v : order) weight.push_back(std::exp(static_cast<double>(logits[v] - logits[order[0]]) / how.temperature));
    const double whole = std::accumulate(weight.begin(), weight.end(), 0.0);
    std::size_t kept = 0;
    double mass = 0;
    while (kept < weight.size() && (kept == 0 || mass < how.nucleus * whole)) mass += weight[kept++];
    double left = u * mass;
    for (std::size_t i = 0; i + 1 < kept; ++i)
        if ((left -= weight[i]) < 0) return static_cast<std::uint8_t>(order[i]);
    return static_cast<std::uint8_t>(order[kept - 1]);
}

/// `count` bytes that continue a prompt of at least one byte. The model reads the last `context` bytes again for every new one.
template <class Model, class S>
std::string continuation(const transformer<Model, S>& model, const typename transformer<Model, S>::weights& weights, const std::string& prompt,
                         long count, const sampling& how, unsigned long long seed) {
    std::vector<std::uint8_t> text(prompt.begin(), prompt.end());
    typename transformer<Model, S>::state st;
    for (long i = 0; i < count; ++i) {
        const std::size_t seen = std::min(text.size(), static_cast<std::size_t>(model.form().context));
        model.forward(weights, std::span<const std::uint8_t>(text).last(seen), static_cast<Eigen::Index>(seen), st);
        text.push_back(choose(st.logits.row(st.logits.rows() - 1).data(), how, uniform(seed, purpose::sampling, i)));
    }
    return {text.begin() + static_cast<long>(prompt.size()), text.end()};
}

}  // namespace language_model
