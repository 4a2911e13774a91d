#include <golden/layer_case.hpp>

namespace golden {

side_of_file::side_of_file(const file& f) {
    const int T = f.integer("tokens");
    for (int t = 0; t < T; ++t) id_.push_back(t);  // the table of a file that gives experts has a row per token
    if (f.has("sequence.offset")) sequence_ = f.integers("sequence.offset");
    if (f.has("noise")) give(learned_noise::stream, f.numbers("noise"), f.integer("router_outputs"));
    if (f.has("draws")) give(random_second::stream, f.numbers("draws"), 1);
}
void side_of_file::give(int stream, numbers values, int count) {
    values_ = std::move(values);
    draws_.push_back({stream, count, values_.data()});
}

place_in_file find_weights(const file& f, const std::string& name, const passive& p, long hidden) {
    if (name == "router") {
        place_in_file at{{"router.weight"}};
        for (const char* const more : {"noise.weight", "router.shared_weight"})
            if (f.has(more)) at.tensors.push_back(more);
        return at;
    }
    if (name == "learned") return {{f.has("router.bias") ? "router.bias" : "router.expert_scale"}};
    if (name == "shared_gate") return {{"shared.router.weight"}};
    if (name == "input") return {{"router.input_scale"}};
    if (name == "constant") return {{"experts.constant"}, (p.zero + p.identity) * hidden};
    const std::string::size_type bias = name.find("_bias");
    return {{bias == std::string::npos ? name : name.substr(0, bias) + ".bias"}};
}
numbers read_weights(const file& f, const place_in_file& at) {
    numbers all;
    for (const std::string& t : at.tensors) {
        const numbers part = f.numbers(t);
        all.insert(all.end(), part.begin(), part.end());
    }
    if (static_cast<long>(all.size()) < at.before) f.fail("tensor '" + at.tensors[0] + "' is too small");
    all.erase(all.begin(), all.begin() + at.before);
    return all;
}
void store_gradient(const file& f, const place_in_file& at, const std::string& prefix, const numbers& gradient, outcome& o) {
    numbers all(static_cast<std::size_t>(at.before));
    all.insert(all.end(), gradient.begin(), gradient.end());
    auto from = all.begin();
    for (const std::string& t : at.tensors) {
        const auto size = static_cast<std::ptrdiff_t>(f.numbers(t).size());
        o.tensors[prefix + t] = numbers(from, from + size);
        from += size;
    }
}

void compare_ids(const file& f, const outcome& found, report& r) {
    if (f.has("mask")) return r.check(found.mask == f.flags("mask"), "other experts");
    auto asked = f.integers("expert");
    if (f.has("kept")) {  // what a draw refused was not asked for
        const auto kept = f.flags("kept");
        r.check(found.kept == kept, "other rows kept");
        for (std::size_t i = 0; i < asked.size(); ++i)
            if (!kept[i] && found.expert[i] == guild::no_expert) asked[i] = guild::no_expert;
    }
    r.check(found.expert == asked, "other experts");
}
void all_used(const file& f, const std::vector<std::string>& used, report& r) {
    for (const std::string& name : f.tensors())
        r.check(std::find(used.begin(), used.end(), name) != used.end(), "tensor '", name, "' belongs to no part of this model");
}

}  // namespace golden
