#include <guild/balance/device_losses.hpp>

#include <support/sight.hpp>

#include <set>

using namespace guild;
using test::sight;

namespace {
int devices_of(const sight& s) {
    int devices = s.d.number(30, 1, s.E);
    while (s.E % devices != 0) --devices;
    return devices;
}
double mass_of_device(const sight& s, int device, int size) {
    double P = 0;
    for (int e = device * size; e < (device + 1) * size; ++e) P += s.mean_score(e);
    return P;
}
}  // namespace

TEST_CASE("device_loss: DeepSeekMoE, equations 15 to 17: mean load of a device times its scores") {
    test::check_loss([](const sight& s) { return device_loss{.weight = s.d.uniform(31, 0), .devices = devices_of(s)}; },
                     [](const sight& s, const device_loss& loss) {
                         double sum = 0;
                         const int size = s.E / loss.devices;
                         for (int i = 0; i < loss.devices; ++i) {
                             double f = 0;
                             for (int e = i * size; e < (i + 1) * size; ++e) f += s.E / (s.K * s.tokens()) * s.requests(e) / size;
                             sum += f * mass_of_device(s, i, size);
                         }
                         return loss.weight * sum;
                     });
}
TEST_CASE("communication_loss: DeepSeek-V2, equations 29 to 31: a token counts once on a device") {
    test::check_loss(
        [](const sight& s) {
            const int devices = devices_of(s);
            return communication_loss{.weight = s.d.uniform(31, 0), .devices = devices, .reach = s.d.number(32, 1, devices)};
        },
        [](const sight& s, const communication_loss& loss) {
            double sum = 0;
            const int size = s.E / loss.devices;
            for (int i = 0; i < loss.devices; ++i) {
                double sent = 0;
                for (long t = 0; t < s.T; ++t) {
                    std::set<int> at;
                    for (int k = 0; k < s.W; ++k)
                        if (s.asked(t, k) != no_expert) at.insert(s.asked(t, k) / size);
                    sent += at.contains(i);
                }
                sum += loss.devices / (loss.reach * s.tokens()) * sent * mass_of_device(s, i, size);
            }
            return loss.weight * sum;
        });
}
TEST_CASE("device_loss: one expert per device is expert_loss, one device the sum of the scores") {
    for (unsigned long long seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const sight s(seed);
        CHECK(s.value(device_loss{.weight = 0.5, .devices = s.E}) == doctest::Approx(s.value(expert_loss{.weight = 0.5})).epsilon(1e-14));
    }
}
