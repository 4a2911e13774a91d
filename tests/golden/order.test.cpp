#include <support/golden.hpp>

#include <guild/io/safetensors.hpp>
#include <io/files.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <span>

// Passive experts in any order of a reference file: what has an entry for each expert is read in the library's.

namespace {
/// Three routed experts, then the kinds; every tensor that has experts holds the file's id of each.
golden::file with(const temporary_folder& folder, const std::string& kinds, const std::string& groups = "1") {
    guild::io::safetensors_writer out;
    const long n = 3 + 1 + std::count(kinds.begin(), kinds.end(), ',');
    std::vector<double> once, twice, rows, nulls;  // [n], [2, n], [n, 2], [n - 3, 2]
    for (long e = 0; e < n; ++e) once.push_back(static_cast<double>(e));
    for (int t = 0; t < 2; ++t) twice.insert(twice.end(), once.begin(), once.end());
    for (const double e : once) rows.insert(rows.end(), {e, e + 100});
    nulls.assign(rows.begin() + 6, rows.end());
    std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
    std::iota(ids.begin(), ids.end(), 0);
    const auto add = [&](const char* name, std::vector<long> shape, const std::vector<double>& v) {
        out.add(name, shape, std::span<const double>(v));
    };
    for (const char* name : {"router.bias", "router.selection_bias", "dloss.z.router.bias"}) add(name, {n}, once);
    for (const char* name : {"router.weight", "d.router.weight", "dloss.z.router.weight", "noise.weight"}) add(name, {n, 2}, rows);
    for (const char* name : {"logits", "scores", "clean_logits", "gates", "noise", "dloss.z.logits", "scores.float32", "trajectory.bias"})
        add(name, {2, n}, twice);
    for (const char* name : {"experts.constant", "d.experts.constant"}) add(name, {n - 3, 2}, nulls);
    for (const char* name : {"expert", "given.expert", "trajectory.expert"})
        out.add(name, guild::io::dtype::i64, {1, n}, std::as_bytes(std::span<const std::int64_t>(ids)));
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(2 * n));
    mask[3] = mask[static_cast<std::size_t>(n + 3)] = 1;  // the file's id 3
    out.add("mask", guild::io::dtype::boolean, {2, n}, std::as_bytes(std::span<const std::uint8_t>(mask)));
    add("y", {n, 2}, rows);
    out.metadata("null_experts", kinds), out.metadata("routed_experts", "3"), out.metadata("groups", groups);
    out.write(folder / "case.safetensors");
    return golden::file((folder / "case.safetensors").string());
}
}  // namespace

TEST_CASE("passive experts of a reference file in any order") {
    const temporary_folder folder;
    const std::pair<const char*, std::vector<int>> cases[] = {{"constant,zero,constant,identity", {0, 1, 2, 4, 6, 3, 5}},
                                                              {"zero,identity,constant", {0, 1, 2, 3, 4, 5}},
                                                              {"identity,zero", {0, 1, 2, 4, 3}},
                                                              {"constant,identity,zero", {0, 1, 2, 5, 4, 3}},
                                                              {"zero,zero", {0, 1, 2, 3, 4}},
                                                              {"identity,constant,zero,identity", {0, 1, 2, 5, 3, 6, 4}}};
    for (const auto& one : cases) {
        const char* const kinds = one.first;
        const std::vector<int>& id = one.second;
        CAPTURE(kinds);
        const golden::file f = with(folder, kinds);
        std::vector<double> once(id.begin(), id.end()), twice, rows;
        for (int t = 0; t < 2; ++t) twice.insert(twice.end(), once.begin(), once.end());
        for (const double e : once) rows.insert(rows.end(), {e, e + 100});
        const std::vector<double> nulls(rows.begin() + 6, rows.end());
        for (const char* name : {"router.bias", "router.selection_bias", "dloss.z.router.bias"}) CHECK(f.numbers(name) == once);
        for (const char* name : {"router.weight", "d.router.weight", "dloss.z.router.weight", "noise.weight"}) CHECK(f.numbers(name) == rows);
        for (const char* name : {"logits", "scores", "clean_logits", "gates", "noise", "dloss.z.logits", "scores.float32", "trajectory.bias"})
            CHECK(f.numbers(name) == twice);
        for (const char* name : {"experts.constant", "d.experts.constant"}) CHECK(f.numbers(name) == nulls);
        for (const char* name : {"expert", "given.expert", "trajectory.expert"}) {
            const auto read = f.integers(name);
            for (std::size_t i = 0; i < read.size(); ++i) CHECK(id[static_cast<std::size_t>(read[i])] == static_cast<int>(i));
        }
        const auto mask = f.flags("mask");
        for (std::size_t i = 0; i < mask.size(); ++i) CHECK(mask[i] == (id[i % id.size()] == 3));
        if (std::size(id) == 7) CHECK(f.numbers("y").at(7) == 103);  // tokens, as many as experts
    }
}

TEST_CASE("an order of passive experts that cannot be told is refused by name") {
    const temporary_folder folder;
    CHECK_THROWS_WITH_AS(
        with(folder, "constant,zero", "5"),
        "golden: case: null experts 'constant,zero' are not in the order zero, identity, constant, among groups or devices of experts", guild::error);
    CHECK_THROWS_WITH_AS(with(folder, "zero,blend"), "golden: case: null experts 'zero,blend' hold one of an unknown kind", guild::error);
    with(folder, "zero,constant", "5");
}
