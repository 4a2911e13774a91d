#include <guild/backend/reference.hpp>
#include <guild/gate/gates.hpp>
#include <guild/gate/run.hpp>

#include <doctest/doctest.h>
#include <support/gate_case.hpp>
#include <support/golden.hpp>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

using namespace guild;

namespace {
using ids = std::vector<int>;

/// What the files state of one row: which experts, by which of the two rules a gate follows (by score, or by logit), and their weights.
class expectation {
public:
    expectation(const golden::file& f, bool by_logit)
        : K_(f.integer("top_k")),
          E_(f.integer("routed_experts")),
          wide_(f.integers(by_logit ? "expert.by_logit" : "expert")),
          narrow_(by_logit ? wide_ : f.integers("expert.float32")),
          defined_(f.flags(by_logit ? "defined.by_logit" : "defined")),
          weight_defined_(f.flags("weight.defined")),
          depends_(f.flags("precision_dependent")),
          weight_(f.numbers(by_logit ? "weight.by_logit" : "weight")),
          selection_(f.numbers("selection")) {}

    template <class S> void check(long row, const int* expert, const S* weight) const {
        const ids found(expert, expert + K_);
        const std::set<int> set(found.begin(), found.end());
        CHECK(static_cast<int>(set.size()) == K_);  // for every row, distinct and in range
        CHECK(*set.begin() >= 0);
        CHECK(*set.rbegin() < E_);
        const auto i = static_cast<std::size_t>(row);
        if (!defined_[i]) return;
        if (std::is_same_v<S, float> && depends_[i]) CHECK((found == at(wide_, row) || found == at(narrow_, row) || as_good(row, found)));
        else CHECK(found == at(wide_, row));
        if (weight_defined_[i] && found == at(wide_, row))
            CHECK(golden::deviation(weight, static_cast<std::size_t>(K_), at(weight_, row)) <= (std::is_same_v<S, float> ? 5e-6 : 1e-12));
    }

private:
    template <class T> std::vector<T> at(const std::vector<T>& v, long row) const { return {v.data() + row * K_, v.data() + (row + 1) * K_}; }
    /// None whose exact selection score is below the best left out by more than four units of the last place in float.
    bool as_good(long row, const ids& found) const {
        std::vector<double> s(selection_.data() + row * E_, selection_.data() + (row + 1) * E_);
        double least = infinity<double>;
        for (const int e : found) least = std::min(least, s[static_cast<std::size_t>(e)]);
        std::nth_element(s.begin(), s.begin() + (K_ - 1), s.end(), std::greater{});
        const double best = s[static_cast<std::size_t>(K_ - 1)];
        return least >= best - 4 * 0x1p-23 * std::abs(best);
    }
    int K_, E_;
    ids wide_, narrow_;
    std::vector<bool> defined_, weight_defined_, depends_;
    std::vector<double> weight_, selection_;
};

template <class S> void compare(const golden::file& f, const auto& gate, bool by_logit = false) {
    const auto m = sized<64>(gate, f.integer("routed_experts"), f.integer("top_k"));
    const auto logit = f.numbers_as<S>("logits");
    std::vector<S> state;
    if (f.flag("selection_bias")) state = f.numbers_as<S>("router.selection_bias");
    CHECK(static_cast<int>(state.size()) == m.stages().state(m.extent().experts));
    const auto rows = f.words("rows");
    const long T = static_cast<long>(rows.size()), K = m.extent().slots;
    gate_result<S> out;
    gate::forward(backend::reference{}, m, gate_data<S>{nullptr, state.data(), nullptr}, {}, view<const S>(logit.data(), T, m.extent().experts), out);
    const expectation expected(f, by_logit);
    for (long t = 0; t < T; ++t) {
        const std::string& row = rows[static_cast<std::size_t>(t)];
        CAPTURE(row);
        expected.check(t, out.choice.expert.data() + t * K, out.choice.weight.data() + t * K);
    }
}
template <class S> void compare(const golden::file& f) {
    const std::string router = f.text("router");
    const int groups = f.integer("groups"), keep = f.integer("top_groups");
    const double scale = f.number("scale");
    if (router == "deepseek_moe" || router == "olmoe") compare<S>(f, deepseek_moe_gate{});
    else if (router == "deepseek_v2") compare<S>(f, deepseek_v2_gate{groups, keep, scale});
    else if (router == "deepseek_v3" || router == "glm4_moe") compare<S>(f, deepseek_v3_gate{groups, keep, scale});
    else if (router == "switch") compare<S>(f, switch_gate{});
    else if (router == "mixtral_top_k_first") compare<S>(f, mixtral_gate{});
    else if (router == "mixtral") {  // one computation by two roads, which part where softmax underflows
        compare<S>(f, qwen3_gate{});
        compare<S>(f, mixtral_gate{}, true);
    } else f.fail("router '" + router + "' is none that this test knows");
}
}  // namespace

TEST_CASE_TEMPLATE("golden: hard logits to experts and weights", S, float, double) {
    for (const golden::file& f : golden::files("routing")) {
        const std::string file = f.name();
        CAPTURE(file);
        compare<S>(f);
    }
}
