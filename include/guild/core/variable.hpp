#pragma once
#include <guild/core/error.hpp>
#include <guild/core/functions.hpp>
#include <guild/core/scratch.hpp>

#include <cstdint>
#include <limits>
#include <type_traits>

/// Reverse mode: what is computed with `variable<S>` while a `recording<S>` lives is noted operation by operation, and one sweep back over the
/// notes gives the gradient by every leaf. Host only; a thread notes in the recording that it made last.
namespace guild::inline v0 {

template <class S> class recording;

/// A number that knows where it was noted. Left uninitialised by default, as a float is; a constant unless it came from a leaf.
template <class S> struct variable {
    /// What slopes and gradients are in: of float in double, whose range their products do not leave before they are one number.
    using slope_type = std::conditional_t<std::is_same_v<S, float>, double, S>;

    S v;
    std::uint32_t at;  ///< its number in the recording; 0: a constant

    variable() = default;
    constexpr variable(S value, std::uint32_t number = 0) : v(value), at(number) {}
    template <class A>
    requires(std::is_arithmetic_v<A> && !std::is_same_v<A, S>) constexpr variable(A constant) : v(static_cast<S>(constant)), at(0) {}

    variable& operator+=(variable b) { return *this = *this + b; }
    variable& operator-=(variable b) { return *this = *this - b; }
    variable& operator*=(variable b) { return *this = *this * b; }
    variable& operator/=(variable b) { return *this = *this / b; }
    friend variable operator-(variable a) { return recording<S>::note(-a.v, a, -1); }
    friend variable operator+(variable a, variable b) {
        if (b.at == 0) return {a.v + b.v, a.at};  // a constant moves the value alone
        if (a.at == 0) return {a.v + b.v, b.at};
        return recording<S>::note(a.v + b.v, a, 1, b, 1);
    }
    friend variable operator-(variable a, variable b) {
        if (b.at == 0) return {a.v - b.v, a.at};
        return recording<S>::note(a.v - b.v, a, 1, b, -1);
    }
    friend variable operator*(variable a, variable b) { return recording<S>::note(a.v * b.v, a, b.v, b, a.v); }
    friend variable operator/(variable a, variable b) {
        using W = slope_type;
        const S y = a.v / b.v;
        if constexpr (std::is_same_v<W, S>) return recording<S>::note(y, a, slope::numerator(b.v, S(1)), b, slope::denominator(y, b.v, S(1)));
        else {  // no quotient leaves the range of W
            const W by = 1 / W(b.v);
            return recording<S>::note(y, a, by, b, -by * W(y));
        }
    }
};
template <class S> struct real_of<variable<S>> { using type = real_t<S>; };
template <class S, class W> variable<S> with_slope(S v, variable<S> a, W by_a) { return recording<S>::note(v, a, by_a); }
template <class S, class W> variable<S> with_slope(S v, variable<S> a, W by_a, variable<S> b, W by_b) {
    return recording<S>::note(v, a, by_a, b, by_b);
}

template <class S> variable<S> exp(variable<S> a) {
    const S y = exp(a.v);
    return with_slope(y, a, std::is_same_v<S, float> ? y : slope::exp(a.v, y, S(1)));
}
template <class S> variable<S> log(variable<S> a) {
    const S y = log(a.v);
    return with_slope(y, a, slope::log(detail::wide(a, a.v), detail::wide(a, y), detail::wide(a, 1)));
}
template <class S> variable<S> log1p(variable<S> a) {
    const S y = log1p(a.v);
    return with_slope(y, a, slope::log1p(detail::wide(a, a.v), detail::wide(a, y), detail::wide(a, 1)));
}
template <class S> variable<S> sqrt(variable<S> a) {
    const S y = sqrt(a.v);
    return with_slope(y, a, slope::sqrt(a.v, y, S(1)));
}
template <class S> variable<S> tanh(variable<S> a) {
    const S y = tanh(a.v);
    return with_slope(y, a, slope::tanh(a.v, y, S(1)));
}
template <class S> variable<S> erf(variable<S> a) {
    const S y = erf(a.v);
    return with_slope(y, a, slope::erf(a.v, y, S(1)));
}
template <class S> variable<S> logistic(variable<S> a) {
    const S y = logistic(a.v);
    return with_slope(y, a, slope::logistic(a.v, y, S(1)));
}
template <class S> variable<S> softplus(variable<S> a) {
    const S y = softplus(a.v);
    return with_slope(y, a, slope::softplus(a.v, y, S(1)));
}

/// The operations on the way from leaves to results, in memory of a `scratch` that the caller has reset: two slopes and two numbers each.
///     recording<S> notes(memory);
///     const auto x = notes.leaf(2);  const auto y = x * x;
///     notes.gradients();  notes.by(y) = 1;  notes.sweep();      // notes.by(x) = 4
template <class S> class recording {
    using W = typename variable<S>::slope_type;

public:
    explicit recording(scratch& memory) : memory_(memory), outer_(current_) { current_ = this; }
    ~recording() { current_ = outer_; }
    recording(const recording&) = delete;
    recording& operator=(const recording&) = delete;

    /// A number to differentiate by. All leaves come before the first operation.
    variable<S> leaf(S v) {
        if (count_ == most) too_many();
        return {v, ++count_};
    }
    /// The gradient by a leaf or result, to be set before `sweep` and read after; by a constant it has no meaning.
    W& by(variable<S> x) { return by_[x.at]; }
    /// The same as a scalar: what is finite stays so.
    S gradient(variable<S> x) const {
        const W g = by_[x.at];
        if constexpr (std::is_same_v<W, S>) return g;
        else {
            constexpr W largest = (std::numeric_limits<S>::max)();
            return static_cast<S>(!is_finite(g) || (-largest <= g && g <= largest) ? g : g < 0 ? -largest : largest);
        }
    }
    /// Makes all of them 0: after the last operation.
    void gradients() { by_ = memory_.template zeros<W>(static_cast<long>(count_) + 1).data(); }
    /// From the gradients by the results to those by the leaves. O(operations).
    void sweep() {
        std::uint32_t number = count_;
        for (const block* b = last_; b; b = b->before)
            for (const operation* o = b == last_ ? next_ : b->end; o != b->begin;) {
                --o;
                const W g = by_[number--];
                if (value(g) == 0) continue;  // not on the way: its slopes may be no numbers
                by_[o->a] += part(g, o->by_a);
                if (o->b) by_[o->b] += part(g, o->by_b);
            }
    }

    /// f(a) = v or f(a, b) = v, with the slopes.
    static variable<S> note(S v, variable<S> a, W by_a) {
        if (a.at == 0) return v;
        return current_->add({by_a, W(0), a.at, 0}, v);
    }
    static variable<S> note(S v, variable<S> a, W by_a, variable<S> b, W by_b) {
        if (b.at == 0) return note(v, a, by_a);
        if (a.at == 0) return note(v, b, by_b);
        return current_->add({by_a, by_b, a.at, b.at}, v);
    }

private:
    static constexpr std::uint32_t most = (std::numeric_limits<std::uint32_t>::max)();
    struct operation {
        W by_a, by_b;
        std::uint32_t a, b;
    };
    struct block {
        block* before;
        operation *begin, *end;
    };
    /// slope::detail::along, for a gradient and slopes that seldom are infinite.
    static W part(W g, W by) {
        const W product = g * by;
        if (is_nan(value(product))) [[unlikely]]
            return slope::detail::along(g, by);
        return product;
    }
    variable<S> add(const operation& o, S v) {
        if (next_ == end_) [[unlikely]]
            more();
        *next_++ = o;
        return {v, ++count_};
    }
    /// A block as large as all before it, up to 2^16 operations.
    [[gnu::noinline]] void more() {
        const std::uint32_t size = operations_ < 256 ? 256 : operations_ < 65536 ? operations_ : 65536;
        if (most - count_ < size) too_many();
        block* const b = memory_.template zeros<block>(1).data();
        next_ = memory_.template room<operation>(size).data();
        end_ = next_ + size;
        *b = {last_, next_, end_};
        last_ = b;
        operations_ += size;
    }
    [[noreturn]] static void too_many() {
        detail::raise<argument_error>("guild: a loss or stage without `backward` takes more than ", most, " operations; give it a backward");
    }

    static inline constinit thread_local recording* current_ = nullptr;
    scratch& memory_;
    recording* outer_;
    block* last_ = nullptr;
    operation *next_ = nullptr, *end_ = nullptr;
    W* by_ = nullptr;
    std::uint32_t count_ = 0, operations_ = 0;
};

}  // namespace guild::inline v0

template <class S> struct std::numeric_limits<guild::variable<S>> : std::numeric_limits<guild::real_t<S>> {};
