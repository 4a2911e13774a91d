#include <support/outcome.hpp>
#include <support/products.hpp>

#include <doctest/doctest.h>

#include <concepts>
#include <type_traits>

// A backend whose memory is not the host's: whatever a layer is given and keeps is a handle that only the backend's own steps open. What a layer or
// another step touches beside that does not compile.

namespace {

struct sealed {
    guild::backend::host by;  // here it stands for a device

    template <class T> class matrix {
        friend sealed;
        guild::view<T> inside_;

    public:
        explicit matrix(guild::view<T> v) : inside_(v) {}
        template <class U>
        requires std::same_as<const U, T> matrix(const matrix<U>& other) : inside_(sealed::open(other)) {}
    };
    class batch {
        friend sealed;
        guild::batch inside_;

    public:
        batch() = default;
        explicit batch(const guild::batch& b) : inside_(b) {}
    };
    template <class Model, class Format> class weights {
        friend sealed;
        const guild::weights<Model, Format>& inside_;

    public:
        Model model;
        explicit weights(const guild::weights<Model, Format>& w) : inside_(w), model(w.model) {}
    };
    template <class Model, class S> class gradients {
        friend sealed;
        guild::weights<Model, S>& inside_;

    public:
        explicit gradients(guild::weights<Model, S>& g) : inside_(g) {}
    };
    template <class S> class workspace {
        friend sealed;
        guild::workspace<S> inside_;
    };
    template <class S> class tape {
        friend sealed;
        guild::tape<S> inside_;
    };
    [[maybe_unused]] static constexpr bool keeps_rows = false;

    auto enter(auto& m, const char* what) const { return by.enter(m.inside_, what); }
    void begin(auto& m) const { by.begin(m.inside_); }
    void done(const auto& c, const auto& x, const batch& side, auto& m) const {
        with(c, [&](const auto& in) { by.done(in, open(x), side.inside_, m.inside_); });
    }
    void check(const auto& c, const auto& x, const auto& y, const batch& side, auto& m) const {
        with(c, [&](const auto& in) { by.check(in, open(x), open(y), side.inside_, m.inside_); });
    }
    template <class Model, class S> void check(const auto& c, const auto& dy, const auto& dx, const gradients<Model, S>& g, const auto& tp) const {
        with(c, [&](const auto& in) { by.check(in, open(dy), open(dx), g.inside_, tp.inside_); });
    }
    void reserve(const auto& c, auto& m, long T, long R) const {
        with(c, [&](const auto& in) { by.reserve(in, m.inside_, T, R); });
    }
    bool filled(const auto& c, const auto& m) const {
        bool is = false;
        with(c, [&](const auto& in) { is = by.filled(in, m.inside_); });
        return is;
    }
    void each_chosen(const auto& c, const auto& m, auto f) const {
        with(c, [&](const auto& in) { by.each_chosen(in, m.inside_, f); });
    }
    template <class C, class S> S loss(const C& c, tape<S>& tp) const {
        S sum(0);
        with(c, [&](const auto& in) { sum = by.loss(in, tp.inside_); });
        return sum;
    }

    void logits(const auto& c, const auto& x, const batch& side, auto& m) const {
        with(c, [&](const auto& in) { by.logits(in, open(x), side.inside_, m.inside_); });
    }
    void choose(const auto& c, const batch& side, auto& m) const {
        with(c, [&](const auto& in) { by.choose(in, side.inside_, m.inside_); });
    }
    void dispatch(const auto& c, auto& m) const {
        with(c, [&](const auto& in) { by.dispatch(in, m.inside_); });
    }
    void experts(const auto& c, const auto& x, auto& m, const auto& y) const {
        with(c, [&](const auto& in) { by.experts(in, open(x), m.inside_, open(y)); });
    }
    void experts_backward(const auto& c, const auto& dy, const auto& dx, auto& g, auto& tp) const {
        with(c, [&](const auto& in) { by.experts_backward(in, open(dy), open(dx), g.inside_, tp.inside_); });
    }
    void losses_backward(const auto& c, auto& g, auto& tp) const {
        with(c, [&](const auto& in) { by.losses_backward(in, g.inside_, tp.inside_); });
    }
    void choose_backward(const auto& c, auto& g, auto& tp) const {
        with(c, [&](const auto& in) { by.choose_backward(in, g.inside_, tp.inside_); });
    }
    void logits_backward(const auto& c, const auto& dx, auto& g, auto& tp) const {
        with(c, [&](const auto& in) { by.logits_backward(in, open(dx), g.inside_, tp.inside_); });
    }

private:
    template <class T> static guild::view<T> open(const matrix<T>& m) { return m.inside_; }
    template <class Model, class Format, class B, class F> void with(const guild::context<Model, Format, B>& c, F f) const {
        const guild::weights_view<Format> w = c.w.inside_.lend();
        f(guild::context<Model, Format, guild::backend::host>{c.model, w, by, c.owner});
    }
};
static_assert(guild::compute_backend<sealed>);

struct mixture : guild::model<guild::config{.hidden = 12, .expert_hidden = 20, .routed_experts = 6, .top_k = 2, .shared_experts = 1},
                              guild::deepseek_moe_gate{}, guild::passive{.identity = 1}, guild::z_loss{.weight = 1e-2}> {};
}  // namespace

TEST_CASE("a layer over memory that is not the host's touches none of it") {
    using S = double;
    const auto w = guild::random_weights<mixture, S>(3);
    const guild::layer host(w, guild::backend::host{});
    const sealed::weights<mixture, S> there(w);
    const guild::layer<mixture, S, sealed> layer(there);
    test::outcome expected(host, test::first_tokens(9));

    test::matrix<S> y(9, 12), inferred(9, 12), dx(9, 12);
    guild::weights<mixture, S> gradient(w.model);
    decltype(layer)::gradients handle(gradient);
    decltype(layer)::workspace ws;
    decltype(layer)::tape tape;
    layer.reserve(ws, 9), layer.reserve(tape, 9);
    const sealed::matrix<const S> x(expected.x.all()), dy(expected.dy.all());
    layer.forward(x, sealed::matrix<S>(inferred.all()), ws);
    layer.forward(x, sealed::matrix<S>(y.all()), tape);
    CHECK(layer.filled(tape));
    CHECK(layer.load(ws).count == host.load(expected.workspace).count);
    CHECK(layer.loss(tape) == expected.loss);
    layer.backward(dy, sealed::matrix<S>(dx.all()), handle, tape);
    CHECK(test::same_bits(inferred, expected.inferred));
    CHECK(test::same_bits(y, expected.y));
    CHECK(test::same_bits(dx, expected.dx));
    CHECK(test::same_gradients(gradient, expected.gradient));
    CHECK_THROWS_WITH_AS(layer.forward(sealed::matrix<const S>({expected.x.all().data, 9, 11}), sealed::matrix<S>(y.all()), ws),
                         "guild::layer: x is [9, 11], expected [9, 12]", guild::shape_error);
}
