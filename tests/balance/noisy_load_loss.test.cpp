#include <guild/balance/noisy_load_loss.hpp>

#include <support/sight.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

using namespace guild;
using test::sight;

TEST_CASE("noisy_load_loss: Shazeer et al. 2017, equations 8 to 11; in evaluation or with every expert chosen, the count of rows") {
    long noisy = 0;
    test::check_loss(
        [](const sight& s) {
            return noisy_load_loss{
                .weight = s.d.uniform(31, 0), .noise = {.floor = s.d.chance(32, 0.5) ? 1e-2 : 0.3}, .epsilon = s.d.chance(33, 0.5) ? 0 : 1e-3};
        },
        [&](const sight& s, const noisy_load_loss& loss) {
            std::vector<double> load(static_cast<std::size_t>(s.E));
            for (int e = 0; e < s.E; ++e)
                for (long t = 0; t < s.T; ++t) {
                    if (s.padded(t)) continue;
                    if (!s.side.training || s.K == s.E) {
                        for (int k = 0; k < s.W; ++k) load[static_cast<std::size_t>(e)] += s.given(t, k) == e;
                        continue;
                    }
                    ++noisy;
                    std::vector<double> others;
                    for (int i = 0; i < s.E; ++i)
                        if (i != e) others.push_back(s.logit(t, i));
                    std::sort(others.begin(), others.end(), std::greater<>{});
                    const double sigma = std::log(1 + std::exp(s.raw(t, s.E + e))) + loss.noise.floor;
                    const double z = (s.raw(t, e) - others[static_cast<std::size_t>(s.K - 1)]) / sigma;
                    load[static_cast<std::size_t>(e)] += 0.5 * std::erfc(-z / std::sqrt(2.));
                }
            double mean = 0, variance = 0;
            for (const double l : load) mean += l / s.E;
            for (const double l : load) variance += (l - mean) * (l - mean) / s.E;
            return mean == 0 ? 0 : loss.weight * variance / (mean * mean + loss.epsilon);
        },
        true);
    CHECK(noisy > 300);
}
