#include <guild/backend/cpu/fused.hpp>
#include <guild/dispatch/plan.hpp>
#include <guild/parallel/serial.hpp>
#include <support/matrix.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "machines.hpp"

// Tiles that keep their sums over the whole depth against those that add block by block, which promise the same bits: several experts, some without
// rows, more rows than are gathered at once, widths that end inside a panel, and pieces that begin at any panel.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, guild::bf16, guild::view;

/// Runs the ranges of n one by one, as threads would.
struct by_range {
    long size() const { return 5; }
    template <class F> void run(long n, F&& f) const {
        for (long i = 0; i < n; ++i) f(i, i + 1);
    }
};

/// Experts of so many rows, over H numbers and F wide; inputs, activations and outputs of a forward.
constexpr int experts = 6;
constexpr long rows_of[experts] = {3, 0, 300, 17, 49, 0}, H = 97, F = 133, T = 371;
struct outcome {
    test::matrix<float> kept, a, y;
    explicit outcome(long R) : kept(R, 2 * F), a(R, F), y(T, H) {}
};

template <class Format> class mixture {
public:
    mixture() {
        guild::format<Format>::resize(gate_, experts, F, H), guild::format<Format>::resize(up_, experts, F, H);
        guild::format<Format>::resize(down_, experts, H, F);
        unsigned long long seed = 0;
        for (auto* w : {&gate_, &up_, &down_}) draw(*w, ++seed);
        for (int e = 0; e < experts; ++e) offset_.push_back(offset_.back() + static_cast<int>(rows_of[e]));
        guild::plan& p = plan_;
        p.rows = offset_.back();
        p.token.shape(1, p.rows), p.slot.shape(1, p.rows);
        for (int r = 0; r < p.rows; ++r) {  // a token at most once in an expert
            p.slot[r] = p.token[r] = static_cast<int>(8L * r % T);
            factor_.push_back(1.5f - static_cast<float>(r % 5));
        }
        for (int t = 0; t < T; ++t) weight_.push_back(0.25f + static_cast<float>(t % 3));
        x_.random(9);
    }
    void forward(const cpu::kernels& with, const cpu::strategy& how, outcome& out) const {
        const auto lend = [](const auto& w, long N, long K) { return guild::format<Format>::lend(w, N, K); };
        const guild::feed_forward<typename guild::format<Format>::stack, guild::stack<const float>> n{
            .gate = lend(gate_, F, H), .up = lend(up_, F, H), .down = lend(down_, H, F)};
        const cpu::packed_network<Format> packed(with, how, guild::serial{}, n, experts, F, H);
        const guild::groups<float> g{experts, offset_.data(), plan_.token.data(), factor_.data()};
        cpu::expert_up(with, by_range{}, guild::swiglu{}, g, x_.all(), packed, out.kept.all(), out.a.all());
        out.y.random(11);
        cpu::expert_down(with, by_range{}, g, std::as_const(out.a).all(), packed, plan_, weight_.data(), out.y.all());
    }
    outcome empty() const { return outcome(plan_.rows); }

private:
    using storage = typename guild::format<Format>::storage;
    static void draw(storage& w, unsigned long long seed) {
        const auto number = [&](std::size_t i) { return static_cast<float>(2 * guild::uniform(seed, 0, 0, static_cast<long>(i)) - 1); };
        if constexpr (guild::has_scales<Format>) {
            for (std::size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<typename Format::code>(number(i) * 127);
            for (std::size_t i = 0; i < w.scale.size(); ++i) w.scale[i] = 0.01f * number(i);
        } else {
            for (std::size_t i = 0; i < w.size(); ++i) w[i] = Format(number(i));
        }
    }
    storage gate_, up_, down_;
    test::matrix<float> x_{T, H};
    std::vector<int> offset_{0};
    std::vector<float> factor_, weight_;
    guild::plan plan_;
};

bool same(const test::matrix<float>& a, const test::matrix<float>& b) {
    for (long r = 0; r < a.rows(); ++r)
        if (std::memcmp(a.all().row(r), b.all().row(r), static_cast<std::size_t>(a.cols()) * sizeof(float)) != 0) return false;
    return a.intact() && b.intact();
}

/// The same forward by tiles over the whole depth and by blocks.
template <class Format> void check(const cpu::kernels& with, arithmetic by, const cpu::tile_kernels& whole, const cpu::tile_kernels& blocks) {
    REQUIRE((whole.whole && !blocks.whole));
    const mixture<Format> m;
    outcome found = m.empty(), expected = m.empty();
    m.forward(with, {with.level, by, &whole}, found);
    m.forward(with, {with.level, by, &blocks}, expected);
    CHECK(same(found.kept, expected.kept));
    CHECK(same(found.a, expected.a));
    CHECK(same(found.y, expected.y));
}
}  // namespace

TEST_CASE("tiles over the whole depth give the bits of those that add blocks") {
    const std::vector<emulated::machine> all = emulated::machines();
    const auto blocks_of = [&](const emulated::machine& m) {
        for (const emulated::machine& other : all)
            if (other.kernels->columns == m.kernels->columns && !other.bf16->pairs.whole && other.bf16->pairs) return other;
        return m;
    };
    int tested = 0;
    for (const emulated::machine& m : all) {
        if (!m.bf16->pairs.whole) continue;
        CAPTURE(m.name);
        const emulated::machine other = blocks_of(m);
        check<bf16>(*m.kernels, arithmetic::bf16, m.bf16->pairs, other.bf16->pairs);
        check<guild::int8>(*m.kernels, arithmetic::int8, *m.int8, *other.int8);
        ++tested;
    }
    CHECK(tested == (cpu::detected() < cpu::isa::avx2 ? 0 : cpu::detected() == cpu::isa::amx ? 2 : 1));
}
