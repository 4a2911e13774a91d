#pragma once
#include <guild/layer.hpp>
#include <guild/weights/convert.hpp>

#include <cmath>
#include <concepts>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include <support/main.hpp>
#include <support/support.hpp>

/// Weights of the layers that are measured: plain ones in fp32, which the naive loop and training read, and packed ones of one format at a time.
namespace bench {

using backend = guild::backend::eigen<guild::threads>;

/// How a layer stores its weights and computes with them. `multiplies`: the kind of arithmetic that bounds it; `apart`: how far rounding
/// may take it from fp32, relative.
struct as_float {
    using format = float;
    static constexpr const char *name = "float", *multiplies = "float";
    static constexpr double bytes = 4, apart = 1e-4;
    static guild::cpu::arithmetic by() { return guild::cpu::arithmetic::fp32; }
};
struct as_bf16 {
    using format = guild::bf16;
    static constexpr const char *name = "bf16", *multiplies = "float";
    static constexpr double bytes = 2, apart = 2e-2;
    static guild::cpu::arithmetic by() { return guild::cpu::arithmetic::fp32; }
};
/// Activations too; by the faster of the two orders of summation.
struct as_bf16a {
    using format = guild::bf16;
    static constexpr const char *name = "bf16a", *multiplies = "bf16";
    static constexpr double bytes = 2, apart = 3e-2;
    static guild::cpu::arithmetic by() {
        return guild::cpu::active() == guild::cpu::isa::avx512_bf16 ? guild::cpu::arithmetic::bf16_chain : guild::cpu::arithmetic::bf16;
    }
};
/// Activations too.
struct as_int8 {
    using format = guild::int8;
    static constexpr const char *name = "int8", *multiplies = "int8";
    static constexpr double bytes = 1, apart = 5e-2;
    static guild::cpu::arithmetic by() { return guild::cpu::arithmetic::int8; }
};

/// Throws guild::error if the system has not so many bytes left.
inline void need_memory(double bytes) {
    constexpr double gib = 1 << 30;
    std::ifstream in("/proc/meminfo");
    for (std::string key, unit; in >> key;)
        if (double kib = 0; key == "MemAvailable:" && in >> kib && kib * 1024 < bytes)
            throw guild::error("needs " + std::to_string(std::lround(bytes / gib)) + " GiB of memory, " +
                               std::to_string(std::lround(kib * 1024 / gib)) + " are free");
}

/// How many numbers the experts have.
template <class Model> double expert_numbers(const Model& m) {
    return 3. * m.config.hidden * (static_cast<double>(m.config.routed_experts) * m.config.expert_hidden + m.config.shared_width());
}

/// Uniform numbers of variance 1 / fan-in, drawn on all threads: gigabytes in a second.
template <class Model> std::unique_ptr<guild::weights<Model>> random_weights(const Model& m) {
    auto w = std::make_unique<guild::weights<Model>>(m);
    unsigned long long seed = 0;
    const auto fill = [&](std::string_view name, std::vector<float>& t) {
        const guild::config& c = m.config;
        const int fan_in = name == "experts.down" ? c.expert_hidden : name == "shared.down" ? c.shared_width() : c.hidden;
        const float size = std::sqrt(3.f / static_cast<float>(fan_in));
        ++seed;
        pool(most_threads()).run(static_cast<long>(t.size()), [&](long begin, long end) {
            unsigned long long random = guild::mix(seed << 48 ^ static_cast<unsigned long long>(begin));
            for (long i = begin; i < end; ++i) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                t[static_cast<std::size_t>(i)] = size * (static_cast<float>(random >> 40) * 0x1p-23f - 1);
            }
        });
    };
    each_tensor(fill, *w);
    return w;
}

template <class Model, class Kind> using packed_weights = guild::packed_weights<Model, typename Kind::format, backend>;

/// The same weights, stored as Kind says. A hash table stays where it is in `plain`.
template <class Model, class Kind> std::unique_ptr<packed_weights<Model, Kind>> pack(const guild::weights<Model>& plain) {
    using format = typename Kind::format;
    const backend by(guild::threads{pool(most_threads())}, Kind::by());
    if constexpr (std::same_as<format, float>) {
        need_memory(4 * expert_numbers(plain.model));
        return std::make_unique<packed_weights<Model, Kind>>(plain, plain.model, by);
    } else {
        need_memory(2 * Kind::bytes * expert_numbers(plain.model));
        const guild::weights<Model, format> stored = guild::convert<format>(plain, pool(most_threads()));
        guild::weights_view<format> view = stored;
        view.gate.table = plain.table.data();
        return std::make_unique<packed_weights<Model, Kind>>(view, plain.model, by);
    }
}

/// The weights of this name, made when they are first asked for; what was held before is released.
inline holder held_plain, held_packed;
template <class Model> guild::weights<Model>& plain_weights(const std::string& name, const Model& m) {
    if (!held_plain.holds(name)) held_packed.release();
    return held_plain.get<guild::weights<Model>>(name, [&] {
        need_memory(4 * expert_numbers(m));
        return random_weights(m).release();
    });
}
template <class Model, class Kind> packed_weights<Model, Kind>& packed(const std::string& name, const guild::weights<Model>& plain) {
    return held_packed.get<packed_weights<Model, Kind>>(name + "/" + Kind::name, [&] { return pack<Model, Kind>(plain).release(); });
}

/// Tokens to take from, so that every round has others: uniform numbers of variance 1.
class tokens {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

public:
    /// How many there are, for batches of T.
    static long bank(long T) { return std::max(1024L, 2 * T); }
    tokens(long T, long H) : T_(T), all_(bank(T), H) {
        guild::buffer<float> memory;
        all_ = Eigen::Map<const matrix>(random(memory, all_.rows(), H, std::sqrt(3.f), 7).data, all_.rows(), H);
        for (int i = 0; i < all_.rows(); ++i) id_.push_back(i);
    }
    void next() { first_ = (first_ + T_) % (all_.rows() - T_ + 1); }
    guild::view<const float> x() const { return guild::view<const float>(all_.middleRows(first_, T_)); }
    matrix copy() const { return all_.middleRows(first_, T_); }
    guild::batch side() const {
        return {.token_id = std::span<const int>(id_).subspan(static_cast<std::size_t>(first_), static_cast<std::size_t>(T_))};
    }

private:
    long T_, first_ = 0;
    matrix all_;
    std::vector<int> id_;
};

}  // namespace bench
