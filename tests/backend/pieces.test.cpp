#include <guild/backend/cpu/fused.hpp>
#include <guild/parallel/serial.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "machines.hpp"

// How products are cut: every row meets every panel once, within the room that there is, and panels that are taken together lie side by side in memory.

namespace {
namespace cpu = guild::cpu;
using cpu::arithmetic, cpu::piece;

struct threads {
    long n;
    long size() const { return n; }
    template <class F> void run(long parts, F&& f) const {
        for (long i = parts; i-- > 0;) f(i, i + 1);  // in any order
    }
};
}  // namespace

TEST_CASE("parts of a piece cover it once, have at most so many rows and lie within a run of panels") {
    for (const long wide : {1L, 2L, 4L, 8L})
        for (const long rows : {1L, 3L, 96L})
            for (const long n : {1L, 2L, 95L, 96L, 97L, 200L})
                for (long first = 0; first < 11; ++first)
                    for (long last = first + 1; last < 20; last += 3) {
                        std::vector<int> met(static_cast<std::size_t>(n * 20));
                        long wrong = 0, begun = -1;
                        cpu::each_part({3, 7, n, first, last}, rows, wide, [&](const piece& at) {
                            wrong +=
                                at.expert != 3 || at.rows < 1 || at.rows > rows || at.first >= at.last || at.first / wide != (at.last - 1) / wide;
                            wrong += at.first < begun;  // a run stays while its rows pass
                            begun = at.first;
                            for (long r = at.row - 7; r < at.row - 7 + at.rows; ++r)
                                for (long p = at.first; p < at.last; ++p) ++met[static_cast<std::size_t>(r * 20 + p)];
                        });
                        for (long r = 0; r < n; ++r)
                            for (long p = 0; p < 20; ++p) wrong += met[static_cast<std::size_t>(r * 20 + p)] != (p >= first && p < last);
                        CHECK(wrong == 0);
                    }
}

TEST_CASE("shares of any threads cover every expert's rows by every panel once; runs stay whole where there are plenty") {
    const std::vector<int> offset{0, 3, 3, 40, 41, 300};
    const guild::groups<float> g{5, offset.data()};
    for (const long n : {1L, 2L, 3L, 7L, 64L, 100L})
        for (const long panels : {1L, 5L, 64L, 1000L})
            for (const long work : {1L, 1000L, 100000L})
                for (const long ridge : {1L, 20L, 160L})
                    for (const long together : {1L, 4L}) {
                        std::vector<int> met(static_cast<std::size_t>(5 * panels));
                        long wrong = 0;
                        cpu::share(threads{n}, g, {panels, ridge, work, together}, [&](const piece& at) {
                            wrong += at.rows != g.rows(at.expert) || at.row != g.begin(at.expert) || at.first >= at.last;
                            if (4 * panels >= 32 * std::min(n, 64L) * together)
                                wrong += at.first % together != 0 || (at.last % together != 0 && at.last != panels);
                            for (long p = at.first; p < at.last; ++p) ++met[static_cast<std::size_t>(at.expert * panels + p)];
                        });
                        for (long e = 0; e < 5; ++e)
                            for (long p = 0; p < panels; ++p)
                                wrong += met[static_cast<std::size_t>(e * panels + p)] != (g.rows(static_cast<int>(e)) > 0);
                        CHECK(wrong == 0);
                    }
}

TEST_CASE("sums of as many panels as are taken together fit, for every number of rows; the panels of a run follow each other block by block") {
    for (const emulated::machine& m : emulated::machines()) {
        CAPTURE(m.name);
        const long columns = m.kernels->columns;
        for (const long depth : {1L, 300L, 1100L})
            for (const long outputs : {1L, 130L, 1000L}) {
                const cpu::strategy how{m.kernels->level, arithmetic::fp32, &m.kernels->fp32};
                const cpu::packed_matrix<float> w(how, m.kernels->columns, 2, outputs, depth, 1);
                const cpu::layout& l = w.shape();
                CHECK(reinterpret_cast<std::uintptr_t>(w.begin(0)) % 64 == 0);
                for (long rows = 1; rows <= 300; ++rows) {
                    const long together = cpu::detail::panels_together(l, rows);
                    CHECK(together % l.wide() == 0);
                    CHECK(together * columns <= cpu::detail::sums_of_rows::most_outputs(std::min(rows, cpu::most_rows)));
                }
                for (long p = 0; p + 1 < l.panels(); ++p)
                    for (long b = 0; b < l.blocks(); ++b)
                        if (p / l.wide() == (p + 1) / l.wide()) CHECK(l.at(p + 1, b) == l.at(p, b) + l.bytes_of(b));
                long end = 0;
                for (long p = 0; p < l.panels(); ++p)
                    for (long b = 0; b < l.blocks(); ++b) end = std::max(end, l.at(p, b) + l.bytes_of(b));
                CHECK(end == l.size());
            }
    }
}
