#pragma once
#include <guild/backend/host.hpp>
#include <guild/gate/published/gates.hpp>
#include <guild/gate/run.hpp>

#include <golden/report.hpp>
#include <support/gate_case.hpp>

/// Hard logits to experts and weights, against a file of `routing`.
namespace golden {

/// What a file states of its rows by one of two rules: the one that its metadata names, or the logits themselves.
enum class chosen_by { file, logit };

class expectation {
public:
    expectation(const golden::file& f, chosen_by by);
    /// What does not hold of a row: nothing, or a few words.
    std::string wrong(long row, const int* expert, bool narrow) const;
    /// Whether the row's weight is defined and belongs to this choice; then it.
    bool weighs(long row, const int* expert, std::vector<double>& weight) const;
    const std::vector<std::string>& rows() const { return rows_; }

private:
    using ids = std::vector<int>;
    template <class T> std::vector<T> at(const std::vector<T>& v, long row) const { return {v.data() + row * K_, v.data() + (row + 1) * K_}; }
    bool as_good(long row, const ids& found) const;
    int K_, E_;
    std::vector<std::string> rows_;
    ids wide_, narrow_;
    std::vector<bool> defined_, weight_defined_, depends_;
    std::vector<double> weight_, selection_;
};

template <int E, int K, auto Gate, chosen_by By> void run_routing(const file& f, report& r) {
    const expectation expected(f, By);
    const auto run = [&]<class S>(S) {
        r.in(std::is_same_v<S, float> ? "float" : "double");
        const auto m = fixed<E, K>(Gate);
        const auto logit = f.numbers_as<S>("logits");
        std::vector<S> state;
        if (f.flag("selection_bias")) state = f.numbers_as<S>("router.selection_bias");
        const long T = static_cast<long>(expected.rows().size());
        if (static_cast<int>(state.size()) != m.stages().state(E) || static_cast<long>(logit.size()) != T * E)
            f.fail("sizes that do not fit the gate");
        guild::gate_result<S> out;
        guild::gate::forward(guild::backend::reference{}, m, guild::gate_data<S>{nullptr, state.data()}, {}, guild::view<const S>(logit.data(), T, E),
                             out);
        std::vector<double> found, weight, one;
        for (long t = 0; t < T; ++t) {
            const int* const expert = out.choice.expert.data() + t * K;
            const std::string wrong = expected.wrong(t, expert, std::is_same_v<S, float>);
            r.check(wrong.empty(), "row ", t, " (", expected.rows()[static_cast<std::size_t>(t)], "): ", wrong);
            if (!expected.weighs(t, expert, one)) continue;
            found.assign(out.choice.weight.data() + t * K, out.choice.weight.data() + (t + 1) * K);
            r.compare<S>("weight of row " + std::to_string(t), found, one, std::is_same_v<S, float> ? 5e-6 : 1e-12);
        }
    };
    run(double{});
    run(float{});
}
template <auto... Run> void run_both(const file& f, report& r) { (Run(f, r), ...); }

}  // namespace golden
