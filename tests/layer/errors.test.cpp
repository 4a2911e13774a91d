#include <support/products.hpp>
#include <support/matrix.hpp>
#include <support/policies.hpp>
#include <support/shapes.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

// Every precondition has an error that says argument, expected and found, and nothing is written before it is thrown.

namespace {
using guild::argument_error, guild::config, guild::shape_error, guild::view;

struct plain : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 1}> {};
struct hashed : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, test::hash_gate{}> {};

/// A layer with a tape that is filled, and everything that a call may write.
template <class Model> struct bench {
    guild::weights<Model> w = guild::random_weights<Model>(1);
    guild::layer<Model> layer{w};
    long T = 5;
    test::matrix<float> x{5, 4}, dy{5, 4}, y{5, 4}, dx{5, 4}, y_before{5, 4}, dx_before{5, 4};
    guild::weights<Model> gradient = guild::random_weights<Model>(2), gradient_before = gradient;
    guild::workspace<float> ws;
    guild::tape<float> tape;

    explicit bench(const guild::batch& side = {}) {
        x.random(1), dy.random(2), y.random(3), dx.random(4);
        layer.forward(x, y, tape, side);
        layer.backward(dy, dx, gradient, tape);
        y_before = y, dx_before = dx, gradient_before = gradient;
    }
    bool untouched() const {
        bool same = test::same_bits(y, y_before) && test::same_bits(dx, dx_before) && y.intact() && dx.intact();
        guild::each_tensor([&](const char*, const auto& a, const auto& b) { same = same && test::same_bits(a, b); }, gradient, gradient_before);
        return same;
    }
    void infer(view<const float> in, view<float> out, const guild::batch& side = {}) { layer.forward(in, out, ws, side); }
    void backward(view<const float> by, view<float> to) { layer.backward(by, to, gradient, tape); }
};

/// The same address and some bytes: between two numbers.
template <class T> T* shifted(T* p, std::size_t bytes = 1) { return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(p) + bytes); }

#define REFUSED(call, type, text)                        \
    do {                                                 \
        CHECK_THROWS_WITH_AS((call), text, guild::type); \
        CHECK(b.untouched());                            \
    } while (false)
}  // namespace

TEST_CASE("x and y: shape, stride, null") {
    bench<plain> b;
    float* const p = b.y.all().data;
    const float* const q = b.x.all().data;
    REFUSED(b.infer({q, 5, 3}, b.y), shape_error, "guild::layer: x is [5, 3], expected [5, 4]");
    REFUSED(b.infer({q, 5, 5}, b.y), shape_error, "guild::layer: x is [5, 5], expected [5, 4]");
    REFUSED(b.infer({q, -1, 4}, {p, -1, 4}), shape_error, "guild::layer: x is [-1, 4], expected [at least 0, 4]");
    REFUSED(b.infer(b.x, {p, 4, 4}), shape_error, "guild::layer: y is [4, 4], expected [5, 4]");
    REFUSED(b.infer(b.x, {p, 5, 3}), shape_error, "guild::layer: y is [5, 3], expected [5, 4]");
    REFUSED(b.infer({q, 5, 4, 3}, b.y), shape_error, "guild::layer: x has a stride of 3, expected at least 4");
    REFUSED(b.infer(b.x, {p, 5, 4, -4}), shape_error, "guild::layer: y has a stride of -4, expected at least 4");
    REFUSED(b.infer({nullptr, 5, 4}, b.y), argument_error, "guild::layer: x is null, expected [5, 4]");
    REFUSED(b.infer(b.x, {nullptr, 5, 4}), argument_error, "guild::layer: y is null, expected [5, 4]");
    b.infer({q, 1, 4, 0}, {p, 1, 4, 0});  // one row needs no stride
    b.infer({nullptr, 0, 4}, {nullptr, 0, 4});
}

TEST_CASE("y apart from x") {
    bench<plain> b;
    const view<float> y = b.y;
    REFUSED(b.infer(y, y), argument_error, "guild::layer: y and x overlap, expected separate memory");
    REFUSED(b.infer({y.row(1), 3, 4}, {y.row(0), 3, 4}), argument_error, "guild::layer: y and x overlap, expected separate memory");
    REFUSED(b.infer({y.row(0), 3, 4}, {y.row(2), 3, 4}), argument_error, "guild::layer: y and x overlap, expected separate memory");
    REFUSED(b.infer({y.row(0), 2, 4, 6}, {y.data + 3, 2, 4, 6}), argument_error, "guild::layer: y and x overlap, expected separate memory");
    REFUSED(b.infer({y.row(0), 2, 4, 7}, {y.data + 4, 2, 4, 7}), argument_error, "guild::layer: y and x overlap, expected separate memory");

    auto* const odd = static_cast<float*>(static_cast<void*>(reinterpret_cast<char*>(y.data) + 2));
    REFUSED(b.infer({odd, 2, 4}, y), argument_error, "guild::layer: x is at an address that is no multiple of 4");

    test::matrix<float> both(5, 8);
    both.random(1);
    b.infer({both.all().data, 5, 4, 8}, {both.all().data + 4, 5, 4, 8});  // side by side in one matrix
    b.infer({both.all().data + 4, 5, 4, 8}, {both.all().data, 5, 4, 8});
    b.infer({both.all().data, 2, 4}, {both.all().data + 8, 2, 4});
}

TEST_CASE("apart: whether two matrices share a number, in either order, over all places of one beside the other") {
    // Rows of `across` and of `other` numbers, `stride` apart, that begin anywhere before, in and after the first matrix.
    const auto share = [](view<float> a, view<float> b) {
        for (long r = 0; r < a.rows; ++r)
            for (long q = 0; q < b.rows; ++q)
                if (a.row(r) < b.row(q) + b.cols && b.row(q) < a.row(r) + a.cols) return true;
        return false;
    };
    const auto refused = [](view<float> a, view<float> b) {
        try {
            guild::check::apart("a", a, "b", b);
        } catch (const argument_error&) { return true; }
        return false;
    };
    std::vector<float> memory(200);
    long wrong = 0, passed = 0;
    for (long stride = 1; stride <= 9; ++stride)
        for (const long across : {1L, 2L, 4L})
            for (const long other : {1L, 3L, 4L})
                for (long rows = 0; rows <= 3; ++rows)
                    for (long at = 0; at < 120 && stride >= across && stride >= other; ++at) {
                        const view<float> a(memory.data() + 60, rows, across, stride), b(memory.data() + at, 3, other, stride);
                        wrong += refused(a, b) != share(a, b);
                        wrong += refused(b, a) != share(b, a);
                        passed += !share(a, b);
                    }
    CHECK(wrong == 0);
    CHECK(passed > 5000);
    const view<float> a(memory.data() + 60, 3, 4, 6);  // of other strides: nothing between first and last
    for (long at = 0; at < 120; ++at) {
        const view<float> b(memory.data() + at, 2, 3, 5);
        wrong += refused(a, b) != (at + 5 + 3 > 60 && at < 60 + 12 + 4);
        wrong += refused(b, a) != refused(a, b);
    }
    CHECK(wrong == 0);
}

TEST_CASE("y that begins in the last row of x, and x in that of y; half a number of two") {
    bench<plain> b;
    const view<float> m = b.y;
    const char* const text = "guild::layer: y and x overlap, expected separate memory";
    for (long at = 8; at < 12; ++at) {
        REFUSED(b.infer({m.data, 3, 4}, {m.data + at, 3, 4}), argument_error, text);
        REFUSED(b.infer({m.data + at, 2, 4}, {m.data, 2, 4, 8}), argument_error, text);
        REFUSED(b.infer({m.data, 1, 4, 9}, {m.data + at - 8, 1, 4, 9}), argument_error, text);
    }
    using twice = guild::dual<double>;  // aligned to half its size
    twice two[8];
    const auto shifted = [&](long halves) { return view<twice>(reinterpret_cast<twice*>(reinterpret_cast<double*>(two) + halves), 2, 1, 2); };
    guild::check::apart("a", shifted(0), "b", shifted(2));
    for (const long halves : {1L, 3L, 5L}) {
        CHECK_THROWS_AS(guild::check::apart("a", shifted(0), "b", shifted(halves)), argument_error);
        CHECK_THROWS_AS(guild::check::apart("b", shifted(halves), "a", shifted(0)), argument_error);
    }
}

TEST_CASE("sizes at the edge: more rows than can be counted, strides that no memory holds") {
    bench<plain> b;
    const auto at = [](std::uintptr_t address) { return reinterpret_cast<float*>(address); };  // never read
    const auto rows = [&](long n) { b.infer({at(1L << 44), n, 4}, {at(1L << 45), n, 4}); };
    const long most = 2147483647, huge = std::numeric_limits<long>::max(), least = std::numeric_limits<long>::min();
    for (const long n : {most / 2 + 1, most, most + 1, 2 * most, 1L << 32, 1L << 62, huge - 1, huge})
        REFUSED(rows(n), shape_error, ("guild::layer: " + std::to_string(n) + " tokens with 2 slots each, expected at most 2147483647 rows").c_str());
    for (const long n : {-1L, -most, -(1L << 32), least})
        REFUSED(rows(n), shape_error, ("guild::layer: x is [" + std::to_string(n) + ", 4], expected [at least 0, 4]").c_str());
    for (const long n : {most / 2 + 1, huge})
        REFUSED(b.ws.reserve(b.layer, n), shape_error,
                ("guild::layer: " + std::to_string(n) + " tokens with 2 slots each, expected at most 2147483647 rows").c_str());
    REFUSED(b.ws.reserve(b.layer, least), argument_error, "guild::workspace: reserve for -9223372036854775808 tokens, expected at least 0");
    for (const long given : {4L, 5L, most, huge, -1L, least}) {  // rows beyond all that there can be are not reserved
        b.ws.reserve(b.layer, 2, given);
        CHECK(b.ws.max_rows == 4);
    }
    REFUSED(rows(most / 2), shape_error, "guild::workspace: reserved for 2 tokens, this batch has 1073741823");
    REFUSED(rows(3), shape_error, "guild::workspace: reserved for 2 tokens, this batch has 3");

    float* const p = b.y.all().data;
    const float* const q = b.x.all().data;
    guild::workspace<float> ws;
    const auto infer = [&](view<const float> x, view<float> y) { b.layer.forward(x, y, ws); };
    for (const long stride : {(1L << 53) + 1, 1L << 61, huge}) {
        const std::string text = " has a stride of " + std::to_string(stride) + ", expected at most 9007199254740992";
        REFUSED(infer({q, 2, 4, stride}, {p, 2, 4}), shape_error, ("guild::layer: x" + text).c_str());
        REFUSED(infer({q, 2, 4}, {p, 2, 4, stride}), shape_error, ("guild::layer: y" + text).c_str());
    }
    REFUSED(infer({q, 2, 4, least}, {p, 2, 4}), shape_error, "guild::layer: x has a stride of -9223372036854775808, expected at least 4");
    for (const long stride : {least, -4L, 0L, huge}) infer({q, 1, 4, stride}, {p, 1, 4, stride});  // of one row it means nothing
    for (const long stride : {least, 0L, huge}) infer({nullptr, 0, 4, stride}, {nullptr, 0, 4, stride});

    struct one_slot : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 1}> {};
    bench<one_slot> c;
    c.ws.reserve(c.layer, 3);
    const auto one = [&](long n) { c.infer({at(1L << 44), n, 4}, {at(1L << 45), n, 4}); };
    CHECK_THROWS_WITH_AS(one(most), "guild::workspace: reserved for 3 tokens, this batch has 2147483647", shape_error);
    CHECK_THROWS_WITH_AS(one(most + 1), "guild::layer: 2147483648 tokens with 1 slots each, expected at most 2147483647 rows", shape_error);
}

TEST_CASE("dy and dx: shape, stride, null, apart from each other and from x") {
    bench<plain> b;
    float* const p = b.dx.all().data;
    const float* const q = b.dy.all().data;
    REFUSED(b.backward({q, 4, 4}, b.dx), shape_error, "guild::layer: dy is [4, 4], expected [5, 4]");
    REFUSED(b.backward({q, 5, 4, 2}, b.dx), shape_error, "guild::layer: dy has a stride of 2, expected at least 4");
    REFUSED(b.backward({nullptr, 5, 4}, b.dx), argument_error, "guild::layer: dy is null, expected [5, 4]");
    REFUSED(b.backward(b.dy, {p, 5, 6}), shape_error, "guild::layer: dx is [5, 6], expected [5, 4]");
    REFUSED(b.backward(b.dy, {p, 5, 4, 1}), shape_error, "guild::layer: dx has a stride of 1, expected at least 4");
    REFUSED(b.backward(b.dy, {nullptr, 5, 4}), argument_error, "guild::layer: dx is null, expected [5, 4]");
    REFUSED(b.backward(b.dx, b.dx), argument_error, "guild::layer: dx and dy overlap, expected separate memory");
    REFUSED(b.backward(b.dy, b.x), argument_error, "guild::layer: dx and x overlap, expected separate memory");
    REFUSED(b.layer.backward({p, 5, 6}, b.gradient, b.tape), shape_error, "guild::layer: dx is [5, 6], expected [5, 4]");
    REFUSED(b.layer.backward({nullptr, 5, 4}, b.gradient, b.tape), argument_error, "guild::layer: dx is null, expected [5, 4]");
    REFUSED(b.layer.backward(b.x, b.gradient, b.tape), argument_error, "guild::layer: dx and x overlap, expected separate memory");
    b.backward(b.x, b.dx);  // both are only read
}

TEST_CASE("lists of the batch") {
    bench<plain> b;
    const auto refused = [&](const guild::batch& side, const char* text) {
        CAPTURE(text);
        const std::string expected(text);
        std::string found;
        try {
            b.infer(b.x, b.y, side);
        } catch (const guild::error& e) { found = e.what(); }
        CHECK(found == expected);
        CHECK(b.untouched());
        CHECK_THROWS_AS(b.layer.forward(b.x, b.y, b.tape, side), guild::error);
        CHECK(b.untouched());
    };
    const int four[4] = {}, one[] = {0}, late[] = {1, 5}, early[] = {0, 4}, falling[] = {0, 4, 3, 5};
    const bool padding[6] = {};
    const long position[2] = {};
    refused({.token_id = four}, "guild::batch: token_id has 4 entries, expected 5");
    refused({.padding = padding}, "guild::batch: padding has 6 entries, expected 5");
    refused({.position = position}, "guild::batch: position has 2 entries, expected 5");
    refused({.sequence = one}, "guild::batch: sequence goes from 0 to 0, expected offsets from 0 to 5");
    refused({.sequence = late}, "guild::batch: sequence goes from 1 to 5, expected offsets from 0 to 5");
    refused({.sequence = early}, "guild::batch: sequence goes from 0 to 4, expected offsets from 0 to 5");
    refused({.sequence = falling}, "guild::batch: sequence falls from 4 to 3, expected offsets that do not fall");
    const double number = 0;
    const guild::given_draws null[] = {{.stream = 3, .count = 1, .value = nullptr}}, none[] = {{.stream = 4, .count = 0, .value = &number}};
    refused({.draws = null}, "guild::batch: draws of stream 3 are null or have count 1, expected at least 1");
    refused({.draws = none}, "guild::batch: draws of stream 4 are null or have count 0, expected at least 1");
    const double numbers[8] = {};  // lists that begin between two numbers
    const auto between = [&]<class T>(T*, std::size_t n) {
        return std::span<T>(shifted(reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(numbers))), n);
    };
    const int* const an_int = nullptr;
    const long* const a_long = nullptr;
    const double* const a_double = nullptr;
    const guild::given_draws *const a_draw = nullptr, inside[] = {{.stream = 3, .count = 1, .value = shifted(numbers)}};
    refused({.token_id = between(an_int, 5)}, "guild::batch: token_id is at an address that is no multiple of 4");
    refused({.sequence = between(an_int, 2)}, "guild::batch: sequence is at an address that is no multiple of 4");
    refused({.position = between(a_long, 5)}, "guild::batch: position is at an address that is no multiple of 8");
    refused({.strength = between(a_double, 0)}, "guild::batch: strength is at an address that is no multiple of 8");
    refused({.draws = between(a_draw, 1)}, "guild::batch: draws is at an address that is no multiple of 8");
    refused({.draws = inside}, "guild::batch: draws.value is at an address that is no multiple of 8");
    const int empty_in_between[] = {0, 2, 2, 5};
    b.infer(b.x, b.y, {.sequence = empty_in_between});
}

TEST_CASE("a gate that reads token ids") {
    const int id[] = {1, 2, 3, 4, 5};
    bench<hashed> b({.token_id = id});
    REFUSED(b.infer(b.x, b.y), argument_error, "guild::batch: token_id is not given, which this gate needs for 5 tokens");
    b.infer({nullptr, 0, 4}, {nullptr, 0, 4});
}

TEST_CASE("room of a workspace") {
    bench<plain> b;
    b.ws.reserve(b.layer, 4);
    REFUSED(b.infer(b.x, b.y), shape_error, "guild::workspace: reserved for 4 tokens, this batch has 5");
    b.ws.reserve(b.layer, 5, 9);
    REFUSED(b.infer(b.x, b.y), shape_error, "guild::workspace: reserved for 9 routed rows, this batch has 10");
    b.ws.reserve(b.layer, 5, 10);
    b.infer(b.x, b.y);
    CHECK(b.untouched());  // the same y again
    REFUSED(b.ws.reserve(b.layer, -1), argument_error, "guild::workspace: reserve for -1 tokens, expected at least 0");
    REFUSED(b.ws.reserve(b.layer, 1L << 30), shape_error, "guild::layer: 1073741824 tokens with 2 slots each, expected at most 2147483647 rows");
    guild::tape<float> tape;
    tape.reserve(b.layer, 3);
    REFUSED(b.layer.forward(b.x, b.y, tape), shape_error, "guild::workspace: reserved for 3 tokens, this batch has 5");

    const auto at = [](std::uintptr_t address) { return reinterpret_cast<float*>(address); };  // never read
    REFUSED(b.infer({at(1L << 44), 1L << 30, 4}, {at(1L << 45), 1L << 30, 4}), shape_error,
            "guild::layer: 1073741824 tokens with 2 slots each, expected at most 2147483647 rows");
}

TEST_CASE("a tape that no forward has filled") {
    bench<plain> b;
    const std::string text = "guild::layer: the tape is empty, expected one that a forward of this layer has filled";
    guild::tape<float> empty;
    REFUSED(b.layer.backward(b.dy, b.dx, b.gradient, empty), argument_error, text.c_str());
    REFUSED(b.layer.backward(b.dx, b.gradient, empty), argument_error, text.c_str());
    REFUSED(b.layer.loss(empty), argument_error, text.c_str());
    REFUSED(b.layer.inspect(empty, 0), argument_error, text.c_str());
    REFUSED(b.layer.load(empty), argument_error, "guild::layer: the workspace is empty, expected one that a forward of this layer has filled");
    REFUSED(b.layer.measure(guild::z_loss{}, empty), argument_error, text.c_str());
    const bool padding[1] = {};
    CHECK_THROWS_AS(b.layer.forward(b.x, b.y, b.tape, {.padding = padding}), shape_error);
    REFUSED(b.backward(b.dy, b.dx), argument_error, text.c_str());
    b.layer.forward(b.x, b.y, b.tape);
    b.tape.reserve(b.layer, 5);
    REFUSED(b.backward(b.dy, b.dx), argument_error, text.c_str());  // reserve does not keep what was there
}

TEST_CASE("a tape that a layer of other numbers has filled") {
    using model = test::gated_model<>;
    const auto layer_of = [](const auto& w) { return guild::layer(w); };
    const test::shape few{.config = {.hidden = 4, .expert_hidden = 3, .routed_experts = 2, .top_k = 1, .shared_experts = 1}},
        many{.config = {.hidden = 4, .expert_hidden = 3, .routed_experts = 20, .top_k = 3, .shared_experts = 1}};
    const auto w = few.weights<float>(few.model<model>()), other = many.weights<float>(many.model<model>());
    auto gradient = other;
    test::matrix<float> x(3, 4), y(3, 4), dx(3, 4);
    x.random(1);
    guild::tape<float> tape;
    layer_of(w).forward(x, y, tape);
    const char* const text = "guild::layer: the tape was filled by a layer of other numbers";
    CHECK_THROWS_WITH_AS(layer_of(other).backward(y, dx, gradient, tape), text, argument_error);
    CHECK_THROWS_WITH_AS(layer_of(other).loss(tape), text, argument_error);
    CHECK_THROWS_WITH_AS(layer_of(other).inspect(tape, 0), text, argument_error);
    CHECK_THROWS_AS(layer_of(other).load(tape), argument_error);
    guild::each_tensor([](const char*, const auto& a, const auto& b) { CHECK(test::same_bits(a, b)); }, gradient, other);
}

TEST_CASE("gradients of another model") {
    using model = test::gated_model<>;
    const test::shape s{.tokens = 3, .config = {.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 1}};
    const auto w = s.weights<float>(s.model<model>());
    const guild::layer layer(w);
    test::matrix<float> x(3, 4), y(3, 4), dx(3, 4), before(3, 4);
    x.random(1), dx.random(2), before.random(2);
    guild::tape<float> tape;
    layer.forward(x, y, tape);
    const auto refused = [&](const char* text, guild::weights<model> gradient) {
        CHECK_THROWS_WITH_AS(layer.backward(y, dx, gradient, tape), text, shape_error);
        CHECK_THROWS_WITH_AS(layer.backward(dx, gradient, tape), text, shape_error);
        CHECK(test::same_bits(dx, before));
    };
    auto other = s;
    other.config.expert_hidden = 2;
    refused("guild::layer: gradients experts.gate has 40 numbers, expected 60", other.weights<float>(other.model<model>()));
    other = s;
    other.config.expert_bias = true;
    refused("guild::layer: gradients experts.gate_bias has 15 numbers, expected 0", other.weights<float>(other.model<model>()));
    other = s;
    other.config.top_k = 3;  // the same tensors
    refused("guild::layer: the gradients belong to a model of other numbers", other.weights<float>(other.model<model>()));
    other = s;
    other.passive = {.constant = 1};  // the same config
    refused("guild::layer: gradients router has 24 numbers, expected 20", other.weights<float>(other.model<model>()));
    auto emptied = w;
    emptied.experts.down.clear();
    refused("guild::layer: gradients experts.down has 0 numbers, expected 60", emptied);
}

TEST_CASE("inspect: a token that is not there") {
    bench<plain> b;
    REFUSED(b.layer.inspect(b.tape, 5), argument_error, "guild::layer::inspect: token 5, expected one of 5");
    REFUSED(b.layer.inspect(b.tape, -1), argument_error, "guild::layer::inspect: token -1, expected one of 5");
}

TEST_CASE("rebalance: a load of other experts") {
    struct balanced : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 2, .top_k = 1},
                                   guild::deepseek_v3_gate{.groups = 1, .keep = 1}, guild::bias_balance{}> {};
    auto w = guild::random_weights<balanced>(1);
    const auto state = w.state;
    CHECK_THROWS_WITH_AS(guild::rebalance(w, {.count = {1, 2, 3}, .total = 6}), "guild::rebalance: the load counts 3 experts, expected 2",
                         shape_error);
    CHECK(w.state == state);
    guild::weights<test::plain_model<>> no_bias({.config = {.hidden = 1, .expert_hidden = 1, .routed_experts = 2, .top_k = 1}});
    CHECK_THROWS_WITH_AS(guild::rebalance(no_bias, {.count = {1, 2}, .total = 3}),
                         "guild::rebalance: the gate has 0 numbers of state, expected a selection bias of 2", argument_error);
}

namespace {
/// Chooses an expert that does not exist, or throws, if told so by the token id.
struct misbehaving : guild::takes_score {
    static void forward(const auto& t, auto& r) {
        if (t.id == 1000) throw std::runtime_error("a stage of the user");
        for (int k = 0; k < r.n.slots; ++k) r.expert[k] = t.id, r.weight[k] = 1;
    }
};
struct misbehaving_gate {
    constexpr auto stages() const { return guild::pipeline{misbehaving{}}; }
};
}  // namespace

TEST_CASE("a stage that chooses an expert that does not exist, or throws") {
    struct any : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, misbehaving_gate{}> {};
    const int good[] = {0, 1, 2, 3, guild::no_expert}, high[] = {0, 1, 5, 3, 4}, low[] = {0, 1, 2, 3, -2}, thrown[] = {0, 1000, 2, 3, 4};
    bench<any> b({.token_id = good});
    REFUSED(b.infer(b.x, b.y, {.token_id = high}), argument_error, "guild::layer: the gate chose expert 5 for token 2, expected one of 5");
    REFUSED(b.infer(b.x, b.y, {.token_id = low}), argument_error, "guild::layer: the gate chose expert -2 for token 4, expected one of 5");
    CHECK_THROWS_WITH_AS(b.layer.forward(b.x, b.y, b.tape, {.token_id = thrown}), "a stage of the user", std::runtime_error);
    CHECK(b.untouched());
    CHECK_THROWS_AS(b.backward(b.dy, b.dx), argument_error);
    b.infer(b.x, b.y, {.token_id = good});
    CHECK(b.untouched());  // the same y again
}

TEST_CASE("weights that a model needs and that are null") {
    struct full
        : guild::model<
              config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
              test::learned_gate{}, guild::gated_shared{}, guild::passive{.constant = 1}> {};
    const auto w = guild::random_weights<full>(1);
    const guild::weights_view<float> good = w;
    const auto refused = [&](const char* name, auto change) {
        guild::weights_view<float> v = good;
        change(v);
        const std::string text = "guild::layer: weights " + std::string(name) + " are null, which this model needs";
        CHECK_THROWS_WITH_AS(guild::layer<full>{v}, text.c_str(), argument_error);
    };
    refused("router", [](auto& v) { v.router = {}; });
    refused("gate.learned", [](auto& v) { v.gate.learned = nullptr; });
    refused("gate.state", [](auto& v) { v.gate.state = nullptr; });
    refused("shared_gate", [](auto& v) { v.shared_gate = nullptr; });
    refused("constant", [](auto& v) { v.constant = nullptr; });
    refused("experts.gate", [](auto& v) { v.experts.gate = {}; });
    refused("experts.up", [](auto& v) { v.experts.up = {}; });
    refused("experts.down", [](auto& v) { v.experts.down = {}; });
    refused("experts.gate_bias", [](auto& v) { v.experts.gate_bias = {}; });
    refused("experts.up_bias", [](auto& v) { v.experts.up_bias = {}; });
    refused("experts.down_bias", [](auto& v) { v.experts.down_bias = {}; });
    refused("shared.gate", [](auto& v) { v.shared.gate = {}; });
    refused("shared.up", [](auto& v) { v.shared.up = {}; });
    refused("shared.down", [](auto& v) { v.shared.down = {}; });
    refused("shared.gate_bias", [](auto& v) { v.shared.gate_bias = {}; });
    refused("shared.up_bias", [](auto& v) { v.shared.up_bias = {}; });
    refused("shared.down_bias", [](auto& v) { v.shared.down_bias = {}; });

    struct bare : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, guild::relu{}> {};
    guild::weights_view<float> v = good;
    v.gate = {}, v.shared = {}, v.shared_gate = v.constant = nullptr, v.experts.gate = {},
    v.experts.gate_bias = v.experts.up_bias = v.experts.down_bias = {};
    guild::layer<bare>{v};  // needs none of these
}

namespace {
/// A gate with everything that weights can have, and a table.
struct everything_gate : test::learned_gate {
    static constexpr auto input() { return guild::rms_input{}; }
};
struct everything
    : guild::model<
          config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2, .shared_experts = 1, .expert_bias = true, .shared_bias = true},
          everything_gate{}, guild::gated_shared{}, guild::passive{.constant = 1}> {};

/// Each pointer of a view in turn between two numbers: refused by layers, packed weights and conversions before anything is read.
template <class Format> void misaligned() {
    using view = guild::weights_view<Format>;
    using packed = guild::packed_weights<everything, Format, guild::backend::eigen<>>;
    auto w = guild::random_weights<everything, Format>(1);
    w.table = {0, 1, 2, 3};
    const view good = w;
    int members = 0;
    const auto at = [&](const std::string& name, auto member) {
        view v = good;
        auto& data = member(v);
        using T = std::remove_cvref_t<decltype(*data)>;
        if constexpr (alignof(T) > 1) {
            const auto right = data;
            for (std::size_t bytes = 1; bytes < alignof(T); ++bytes) {
                data = shifted(right, bytes);
                const std::string text = "guild::layer: weights " + name + " are at an address that is no multiple of " + std::to_string(alignof(T));
                CHECK_THROWS_WITH_AS((guild::layer<everything, Format>{v}), text.c_str(), argument_error);
                CHECK_THROWS_WITH_AS(packed{v}, text.c_str(), argument_error);
                CHECK_THROWS_WITH_AS((guild::convert<double, everything>(v)), text.c_str(), argument_error);
            }
            ++members;
        }
    };
    const auto matrix = [&](const std::string& name, auto of) {
        at(
            name, [&](view & v) -> auto& { return of(v).data; });
        if constexpr (guild::has_scales<Format>)
            at(
                name + ".scale", [&](view & v) -> auto& { return of(v).scale; });
    };
    const auto network = [&](const std::string& name, auto of) {
        matrix(
            name + ".gate", [&](view & v) -> auto& { return of(v).gate; });
        matrix(
            name + ".up", [&](view & v) -> auto& { return of(v).up; });
        matrix(
            name + ".down", [&](view & v) -> auto& { return of(v).down; });
        at(
            name + ".gate_bias", [&](view & v) -> auto& { return of(v).gate_bias.data; });
        at(
            name + ".up_bias", [&](view & v) -> auto& { return of(v).up_bias.data; });
        at(
            name + ".down_bias", [&](view & v) -> auto& { return of(v).down_bias.data; });
    };
    at(
        "router", [](view & v) -> auto& { return v.router.data; });
    at(
        "gate.learned", [](view & v) -> auto& { return v.gate.learned; });
    at(
        "gate.state", [](view & v) -> auto& { return v.gate.state; });
    at(
        "gate.table", [](view & v) -> auto& { return v.gate.table; });
    at(
        "shared_gate", [](view & v) -> auto& { return v.shared_gate; });
    at(
        "constant", [](view & v) -> auto& { return v.constant; });
    at(
        "input", [](view & v) -> auto& { return v.input; });
    network(
        "experts", [](view & v) -> auto& { return v.experts; });
    network(
        "shared", [](view & v) -> auto& { return v.shared; });
    CHECK(members == (std::is_same_v<Format, guild::mxfp4> ? 13 : 19));
    guild::layer<everything, Format>{good};
}
}  // namespace

TEST_CASE("weights at addresses that are no multiple of their numbers' alignment") {
    misaligned<float>();
    misaligned<guild::bf16>();
    misaligned<guild::half>();
    misaligned<guild::int8>();
    misaligned<guild::mxfp4>();

    struct passes_on : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 5, .top_k = 2}, guild::moe_plus_plus_gate{}> {};
    const auto w = guild::random_weights<passes_on>(1);
    const guild::layer layer(w);
    test::matrix<float> x(3, 4), y(3, 4), logits(3, 5), dx(3, 4);
    x.random(1), logits.random(2);
    float* const odd = shifted(logits.all().data);
    guild::tape<float> tape;
    guild::weights<passes_on> gradient;
    const auto refused = [&](const char* name, auto call) {
        CHECK_THROWS_WITH_AS(call(), ("guild::layer: passed." + std::string(name) + " is at an address that is no multiple of 4").c_str(),
                             argument_error);
        tape.passed = {.previous = logits};
    };
    const auto forward = [&] { layer.forward(x, y, tape); };
    const auto backward = [&] { layer.backward(x, dx, gradient, tape); };
    tape.passed.previous = {odd, 3, 5};
    refused("previous", forward);
    tape.passed.own = {odd, 3, 5};
    refused("own", forward);
    forward();
    tape.passed.d_own = {odd, 3, 5};
    refused("d_own", backward);
    tape.passed.d_previous = {odd, 3, 5};
    refused("d_previous", backward);
    backward();
}

TEST_CASE("what a layer passes on is apart from what else it reads and writes") {
    struct passes_on : guild::model<config{.hidden = 4, .expert_hidden = 3, .routed_experts = 4, .top_k = 2}, guild::moe_plus_plus_gate{}> {};
    const auto w = guild::random_weights<passes_on>(1);
    const guild::layer layer(w);
    test::matrix<float> x(3, 4), y(3, 4), logits(3, 4), dx(3, 4), other(3, 4);
    x.random(1), logits.random(2);
    guild::tape<float> tape;
    guild::weights<passes_on> gradient;
    const auto refused = [&](const char* text, auto call) {
        CHECK_THROWS_WITH_AS(call(), ("guild::layer: " + std::string(text) + " overlap, expected separate memory").c_str(), argument_error);
        tape.passed = {.previous = logits};
    };
    const auto forward = [&] { layer.forward(x, y, tape); };
    const auto backward = [&] { layer.backward(other, dx, gradient, tape); };
    tape.passed = {.previous = y};
    refused("y and passed.previous", forward);
    tape.passed = {.previous = logits, .own = x};
    refused("passed.own and x", forward);
    tape.passed = {.previous = logits, .own = y};
    refused("passed.own and y", forward);
    forward();
    tape.passed.d_own = dx;
    refused("dx and passed.d_own", backward);
    tape.passed.d_previous = x;
    refused("passed.d_previous and x", backward);
    tape.passed.d_previous = dx;
    refused("passed.d_previous and dx", backward);
}
