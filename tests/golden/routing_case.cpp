#include <golden/routing_case.hpp>

#include <set>

namespace golden {

expectation::expectation(const golden::file& f, chosen_by by)
    : K_(f.integer("top_k")),
      E_(f.integer("routed_experts")),
      rows_(f.words("rows")),
      wide_(f.integers(by == chosen_by::logit ? "expert.by_logit" : "expert")),
      narrow_(by == chosen_by::logit ? wide_ : f.integers("expert.float32")),
      defined_(f.flags(by == chosen_by::logit ? "defined.by_logit" : "defined")),
      weight_defined_(f.flags("weight.defined")),
      depends_(f.flags("precision_dependent")),
      weight_(f.numbers(by == chosen_by::logit ? "weight.by_logit" : "weight")),
      selection_(f.numbers("selection")) {}

std::string expectation::wrong(long row, const int* expert, bool narrow) const {
    const ids found(expert, expert + K_);
    const std::set<int> set(found.begin(), found.end());
    if (static_cast<int>(set.size()) != K_ || *set.begin() < 0 || *set.rbegin() >= E_) return "experts that are not distinct and in range";
    const auto i = static_cast<std::size_t>(row);
    if (!defined_[i] || found == at(wide_, row)) return "";
    if (narrow && depends_[i] && (found == at(narrow_, row) || as_good(row, found))) return "";
    return "other experts";
}
bool expectation::weighs(long row, const int* expert, std::vector<double>& weight) const {
    const auto i = static_cast<std::size_t>(row);
    if (!defined_[i] || !weight_defined_[i] || ids(expert, expert + K_) != at(wide_, row)) return false;
    weight = at(weight_, row);
    return true;
}
/// None whose exact selection score is below the best left out by more than four units of the last place in float.
bool expectation::as_good(long row, const ids& found) const {
    std::vector<double> s(selection_.data() + row * E_, selection_.data() + (row + 1) * E_);
    double least = guild::infinity<double>;
    for (const int e : found) least = std::min(least, s[static_cast<std::size_t>(e)]);
    std::nth_element(s.begin(), s.begin() + (K_ - 1), s.end(), std::greater{});
    const double best = s[static_cast<std::size_t>(K_ - 1)];
    return least >= best - 4 * 0x1p-23 * std::abs(best);
}

}  // namespace golden
