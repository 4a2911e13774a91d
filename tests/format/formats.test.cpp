#include <guild/core/random.hpp>
#include <guild/format/fp8.hpp>
#include <guild/format/int4.hpp>
#include <guild/format/int8.hpp>
#include <guild/format/mxfp4.hpp>
#include <guild/parallel/thread_pool.hpp>
#include <guild/weights/convert.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <type_traits>
#include <vector>

// Formats with scales: what their blocks are, what is lost, and what is not.

using namespace guild;

namespace {
constexpr float inf = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();
static_assert(fp8_e4m3(1.f).bits == 0x38 && decode(fp8_e4m3(-448.f)) == -448 && decode(fp8_e4m3(inf)) == 448 && sizeof(fp8_e4m3) == 1);
static_assert(decode(e8m0{127}) == 1 && decode(e8m0{0}) == 0x1p-127f && decode(e8m0{254}) == 0x1p127f && sizeof(e8m0) == 1);
static_assert(std::is_trivially_copyable_v<format<fp8>::stack> && std::is_trivially_copyable_v<format<mxfp4>::stack>);
static_assert(std::is_same_v<scalar_of<int4<>>, float> && has_scales<int4<128>> && !has_scales<bf16> && !has_scales<float>);

/// Random numbers [E, out, in], of another size in every row and column.
struct numbers {
    long E, out, in;
    std::vector<float> all;
    numbers(long experts, long rows, long columns) : E(experts), out(rows), in(columns) {
        for (long e = 0; e < E; ++e)
            for (long r = 0; r < out; ++r)
                for (long c = 0; c < in; ++c)
                    all.push_back(static_cast<float>(normal(1, 0, e * out + r, c) * std::exp(normal(2, 0, r / 16, c / 16))));
    }
    stack<const float> view() const { return {all.data(), out * in, in}; }
    float& operator()(long e, long r, long c) { return all[static_cast<std::size_t>((e * out + r) * in + c)]; }
    template <class Format> scaled_matrices<Format> stored() const { return quantise<Format>(view(), E, out, in); }
};
template <class Format> auto lend(const scaled_matrices<Format>& w, const numbers& n) { return format<Format>::lend(w, n.out, n.in); }

/// Half the gap between neighbours, relative to the largest of a block.
template <class Format> constexpr float step = 0;
template <> constexpr float step<fp8> = 16.f / 448;
template <> constexpr float step<int8> = 0.5f / 127;
template <int Group> constexpr float step<int4<Group>> = 0.5f / 7;
template <> constexpr float step<mxfp4> = 1.f / 4;  // 4 .. 8 of the scale, beyond 6 saturated
}  // namespace

#define FORMATS fp8, int8, int4<32>, int4<128>, mxfp4

TEST_CASE("fp8_e4m3: every code comes back; the nearest, ties to even, saturating") {
    for (int bits = 0; bits < 256; ++bits) {
        const auto w = fp8_e4m3::from_bits(static_cast<std::uint8_t>(bits));
        if ((bits & 127) == 127) CHECK(std::isnan(decode(w)));
        else CHECK(fp8_e4m3(decode(w)) == w);
    }
    CHECK(decode(fp8_e4m3(17)) == 16);
    CHECK(decode(fp8_e4m3(19)) == 20);
    CHECK(decode(fp8_e4m3(17.1f)) == 18);
    CHECK(decode(fp8_e4m3(0x1p-10f)) == 0);
    CHECK(decode(fp8_e4m3(0x3p-10f)) == 0x1p-8f);
    CHECK(decode(fp8_e4m3(-1e9f)) == -448);
    CHECK(decode(fp8_e4m3(-inf)) == -448);
    CHECK(std::isnan(decode(fp8_e4m3(not_a_number))));
}

TEST_CASE_TEMPLATE("a number is off by half a step of its block at most, and the blocks are those of the format", Format, FORMATS) {
    for (const auto& shape : {std::pair{1L, 1L}, {3L, 31L}, {5L, 33L}, {130L, 257L}, {256L, 128L}}) {
        const long out = shape.first, in = shape.second;
        CAPTURE(out);
        CAPTURE(in);
        numbers n(2, out, in);
        const auto w = n.template stored<Format>();
        const auto view = lend(w, n);
        long wrong = 0;
        const auto check_block = [&](long e, long r0, long c0) {
            const auto each = [&](auto f) {
                for (long r = r0; r < std::min(out, r0 + Format::rows); ++r)
                    for (long c = c0; c < c0 + std::min(Format::columns, in - c0); ++c) f(r, c);
            };
            float largest = 0;
            each([&](long r, long c) { largest = std::max(largest, std::abs(n(e, r, c))); });
            each([&](long r, long c) {
                wrong += !(std::abs(view(e, r, c) - n(e, r, c)) <= largest * step<Format> * (1 + 1e-5f));
                if constexpr (!std::is_same_v<Format, mxfp4>)
                    if (std::abs(n(e, r, c)) == largest) wrong += std::abs(view(e, r, c) - n(e, r, c)) > 1e-6f * largest;
                wrong += view(e, r, c) != Format::decode(view.row(e, r), c) * decode(view.scales(e, r)[c / Format::columns]);
            });
        };
        for (long e = 0; e < 2; ++e)
            for (long r = 0; r < out; r += Format::rows)
                for (long c = 0; c < in; c += std::min(Format::columns, in - c)) check_block(e, r, c);
        CHECK(wrong == 0);
    }
}

TEST_CASE("e8m0: powers of two from code 0 on, and NaN") {
    CHECK(decode(e8m0{0}) == 0x1p-127f);
    CHECK(decode(e8m0{1}) == 0x1p-126f);
    CHECK(decode(e8m0{254}) == 0x1p127f);
    CHECK(std::isnan(decode(e8m0{255})));
}
TEST_CASE("mxfp4: the scale is 2 exponents below the largest number, and at least code 0") {
    for (int e = -126; e <= 127; ++e) CHECK(mxfp4::scale_of(std::ldexp(1.5f, e)).bits == std::max(e - 2 + 127, 0));
    for (const float tiny : {0.f, 0x1p-149f, 0x1p-127f}) CHECK(mxfp4::scale_of(tiny).bits == 0);
    numbers n(1, 1, 32);
    for (float& x : n.all) x = 0;
    n(0, 0, 0) = 0x1p-126f, n(0, 0, 1) = -0x1p-127f;
    const auto w = n.stored<mxfp4>();
    CHECK(lend(w, n)(0, 0, 0) == 0x1p-126f);
    CHECK(lend(w, n)(0, 0, 1) == -0x1p-127f);
    CHECK(lend(w, n)(0, 0, 2) == 0);
}
TEST_CASE_TEMPLATE("a number of half a byte replaces the one before it and leaves its neighbour", Format, int4<32>, mxfp4) {
    for (const float first : {-6.f, -1.f, 0.f, 3.f, 6.f})
        for (const float second : {-6.f, -2.f, 0.f, 1.f, 6.f})
            for (const long c : {0L, 1L}) {
                std::uint8_t code[1] = {0};
                Format::encode(4.f, code, 1 - c);
                Format::encode(first, code, c);
                Format::encode(second, code, c);
                CHECK(Format::decode(code, c) == second);
                CHECK(Format::decode(code, 1 - c) == 4);
            }
}
TEST_CASE_TEMPLATE("a part of a row is read as the same numbers", Format, FORMATS) {
    const numbers n(1, 2, 301);
    const auto w = n.template stored<Format>();
    const auto view = lend(w, n);
    long wrong = 0;
    for (long first = 0; first < 301; ++first)
        for (const long count : {0L, 1L, 2L, 31L, 32L, 33L, 64L, 127L, 130L, 301L - first}) {
            if (first + count > 301) continue;
            std::vector<float> part(static_cast<std::size_t>(count) + 1, -1234);
            view.read(0, 1, first, count, part.data());
            for (long c = 0; c < count; ++c) wrong += part[static_cast<std::size_t>(c)] != view(0, 1, first + c);
            wrong += part.back() != -1234;
        }
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("zeros, very small and very large numbers are finite, and zeros stay zero", Format, FORMATS) {
    numbers n(1, 4, 40);
    for (const float size : {0.f, std::numeric_limits<float>::denorm_min(), 1e-40f, 0x1p127f}) {
        CAPTURE(size);
        for (long r = 0; r < 4; ++r)
            for (long c = 0; c < 40; ++c) n(0, r, c) = c % 3 == 0 ? size : c % 3 == 1 ? -size : 0;
        const auto w = n.template stored<Format>();
        const auto view = lend(w, n);
        long wrong = 0;
        for (long r = 0; r < 4; ++r)
            for (long c = 0; c < 40; ++c) {  // a subnormal scale is a rough one
                const float most = size * (1 + 1e-6f) + 224 * std::numeric_limits<float>::denorm_min();
                wrong += !std::isfinite(view(0, r, c)) || (n(0, r, c) == 0 ? view(0, r, c) != 0 : std::abs(view(0, r, c)) > most);
            }
        CHECK(wrong == 0);
    }
}

TEST_CASE_TEMPLATE("a number that is not finite is refused", Format, FORMATS) {
    numbers n(2, 3, 40);
    n(1, 2, 35) = not_a_number;
    CHECK_THROWS_WITH_AS(n.template stored<Format>(), "guild::quantise: w(1, 2, 35) is nan, expected a finite number", argument_error);
    n(1, 2, 35) = -inf;
    CHECK_THROWS_WITH_AS(n.template stored<Format>(), "guild::quantise: w(1, 2, 35) is -inf, expected a finite number", argument_error);
}

TEST_CASE_TEMPLATE("any number of threads stores the same bytes, and refuses the same number", Format, FORMATS) {
    numbers n(3, 131, 300);
    const auto expected = n.template stored<Format>();
    for (const int count : {1, 2, 3, 7}) {
        const thread_pool pool(count);
        CHECK(quantise<Format>(n.view(), n.E, n.out, n.in, pool) == expected);
        const auto view = lend(expected, n);
        CHECK(quantise<float>(view, n.E, n.out, n.in, threads{pool}) == quantise<float>(view, n.E, n.out, n.in));
        CHECK(quantise<bf16>(view, n.E, n.out, n.in, threads{pool}) == quantise<bf16>(view, n.E, n.out, n.in));
    }
    n(1, 2, 299) = n(2, 130, 0) = inf;
    const thread_pool pool(3);
    CHECK_THROWS_WITH_AS(quantise<Format>(n.view(), n.E, n.out, n.in, pool), "guild::quantise: w(1, 2, 299) is inf, expected a finite number",
                         argument_error);
}

TEST_CASE_TEMPLATE("what was stored once is stored again as it is", Format, int8, int4<32>, int4<128>, mxfp4) {
    numbers n(2, 7, 150);
    const auto w = n.template stored<Format>();
    const auto again = quantise<Format>(lend(w, n), 2, 7, 150), once_more = quantise<Format>(lend(again, n), 2, 7, 150);
    long wrong = 0;
    for (long e = 0; e < 2; ++e)
        for (long r = 0; r < 7; ++r)
            for (long c = 0; c < 150; ++c) wrong += std::abs(lend(again, n)(e, r, c) - lend(w, n)(e, r, c)) > 1e-6f * std::abs(lend(w, n)(e, r, c));
    CHECK(wrong == 0);
    CHECK(again.data == once_more.data);
}

TEST_CASE_TEMPLATE("strides reach one of two interleaved, stacked or padded matrices", Format, FORMATS) {
    // [E, 2 * 128, in], the up rows after the gate rows; then in turn. Blocks of rows are whole in the first alone.
    const numbers n(2, 256, 70);
    const auto w = n.template stored<Format>();
    const auto whole = lend(w, n);
    auto up = whole;
    up.data = whole.row(0, 128);
    up.scale = whole.scales(0, 128);
    auto odd = whole;
    odd.data = whole.row(0, 1);
    odd.scale = whole.scales(0, 1);
    odd.row_stride *= 2;
    odd.scale_row_stride *= 2;
    long wrong = 0;
    for (long e = 0; e < 2; ++e)
        for (long r = 0; r < 128; ++r)
            for (long c = 0; c < 70; ++c) {
                wrong += up(e, r, c) != whole(e, r + 128, c);
                if (Format::rows == 1) wrong += odd(e, r, c) != whole(e, 2 * r + 1, c);
            }
    CHECK(wrong == 0);
}

TEST_CASE("int4 and mxfp4: the even column is the low half of a byte, a row of odd length ends with an empty half") {
    const float row[] = {1, -7, 7, -3, 6}, largest = 7;
    const stack<const float> w{row, 5, 5};
    const auto a = quantise<int4<>>(w, 1, 1, 5);
    CHECK(a.data == std::vector<std::uint8_t>{0x91, 0xd7, 0x06});
    CHECK(a.scale == std::vector{largest / 7});
    const auto b = quantise<mxfp4>(w, 1, 1, 5);
    CHECK(b.data == std::vector<std::uint8_t>{0xf2, 0xd7, 0x07});  // 1 -6 | 6 -3 | 6
    CHECK(b.scale == std::vector{e8m0{127}});
    const float small[] = {0.5f, 1.5f, -1.75f, 1.25f, 2.5f};  // the largest is 2.5: a scale of 1/2
    CHECK(quantise<mxfp4>(stack<const float>{small, 5, 5}, 1, 1, 5).scale == std::vector{e8m0{126}});
    CHECK(quantise<mxfp4>(stack<const float>{small, 5, 5}, 1, 1, 5).data == std::vector<std::uint8_t>{0x52, 0x4e, 0x06});
}

TEST_CASE("int8: no code is -128, where the scale is as small as numbers go and rounds too") {
    numbers n(1, 2, 3);
    for (const long most : {127L, 128L, 143L, 190L}) {
        CAPTURE(most);
        const float size = static_cast<float>(most) * std::numeric_limits<float>::denorm_min();
        n.all = {size, -size, 0, -size, size, 0};
        CHECK(n.stored<int8>().data == std::vector<std::int8_t>{127, -127, 0, -127, 127, 0});
    }
}
