#pragma once
#include <guild/step/workspace.hpp>
#include <guild/telemetry/heat_map.hpp>
#include <guild/telemetry/load.hpp>
#include <guild/weights/weights.hpp>

#include <algorithm>
#include <cstddef>

namespace guild::inline v0 {

/// What a router does, batch after batch: a value, fed with the workspace of each forward. Cheap enough to leave on, O(T K^2 + E) a batch,
/// and no allocation after the first:
///
///     guild::telemetry seen;
///     layer.forward(x, y, workspace);
///     seen.add(layer, workspace);
///     seen.to_json(std::cout);
struct telemetry {
    /// One batch or many: counts, entropy and maximal violation, and
    struct tally : load {
        long tokens = 0;   ///< T without padding
        long dropped = 0;  ///< rows that a token asked for and no expert took: capacity, sampling
    };
    tally last;              ///< the last batch
    tally all;               ///< all batches; its maximal violation is MaxVio_global of arXiv:2408.15664
    long batches = 0;        ///< how many were added
    double violation = 0;    ///< sum over batches of the maximal violation
    std::vector<long> pair;  ///< [E, E] how many tokens chose both experts, over all batches; on the diagonal the rows of the expert

    /// Mean over batches of the maximal violation: MaxVio_batch of arXiv:2408.15664.
    double mean_violation() const { return batches == 0 ? 0 : violation / static_cast<double>(batches); }
    /// Cosine of two experts as sets of tokens, pair_ij / sqrt(count_i count_j): 1 if always chosen together, 0 if never. [E, E]
    std::vector<double> co_selection() const {
        const std::size_t E = all.count.size();
        std::vector<double> cosine(E * E);
        for (std::size_t i = 0; i < E; ++i)
            for (std::size_t j = 0; j < E; ++j)
                if (pair[i * E + j] > 0)
                    cosine[i * E + j] =
                        static_cast<double>(pair[i * E + j]) / std::sqrt(static_cast<double>(all.count[i]) * static_cast<double>(all.count[j]));
        return cosine;
    }

    /// The last forward of `layer` on this workspace or tape. Throws argument_error if there was none, shape_error if the batches before
    /// had another number of experts.
    template <class Layer, class Memory> void add(const Layer& layer, const Memory& ws) {
        const auto n = layer.model().extent();
        if (!layer.filled(ws))
            detail::raise<argument_error>("guild::telemetry: the workspace is empty or another layer's, expected one that this layer has filled");
        add(n.experts, ws.gate.choice, ws.gate.template asked<decltype(layer.model().stages())>(), ws.gate.present.count());
    }
    /// A choice [T, W] among `experts`, each entry below that or no_expert, and what was asked for before drops, [T, W], by `tokens` of the T,
    /// those that are not padding; < 0: by all.
    template <class S> void add(int experts, const choice<S>& c, const int* asked, long tokens = -1) {
        const auto E = static_cast<std::size_t>(experts), W = static_cast<std::size_t>(c.slots);
        if (batches == 0) all.count.assign(E, 0), last.count.resize(E), pair.assign(E * E, 0);
        if (all.count.size() != E) detail::raise<shape_error>("guild::telemetry: a batch of ", experts, " experts, expected ", all.count.size());
        if (chosen_.size() < W) chosen_.resize(W);
        last.count.assign(E, 0);
        last.total = last.dropped = 0;
        last.tokens = tokens < 0 ? c.tokens : tokens;
        for (long t = 0; t < c.tokens; ++t) {
            std::size_t have = 0;  // experts of this token, each once
            for (long i = t * c.slots; i < (t + 1) * c.slots; ++i)
                if (const int e = c.expert[i]; e != no_expert) take(static_cast<std::size_t>(e), E, have), ++last.total;
                else last.dropped += asked[i] != no_expert;
        }
        all += last;
        all.tokens += last.tokens;
        all.dropped += last.dropped;
        violation += last.max_violation();
        ++batches;
    }

    /// One line of JSON: {"batches":..,"mean_violation":..,"last":{"tokens":..,"dropped":..,"total":..,"entropy":..,"max_violation":..,
    /// "count":[E]},"all":{the same},"pair":[[E],..]}; without "pair" if not asked for.
    void to_json(std::ostream& out, bool pairs = true) const {
        std::string text = "{\"batches\":";
        detail::append(text, batches);
        text += ",\"mean_violation\":";
        detail::append(text, mean_violation());
        write(text += ",\"last\":", last);
        write(text += ",\"all\":", all);
        if (pairs) {
            text += ",\"pair\":[";
            for (std::size_t e = 0, E = all.count.size(); e < E; ++e) write(text += e > 0 ? "," : "", pair.data() + e * E, E);
            text += ']';
        }
        out << text << "}\n";
    }

private:
    std::vector<std::size_t> chosen_;  ///< [W] by one token

    void take(std::size_t e, std::size_t E, std::size_t& have) {
        ++last.count[e];
        ++pair[e * E + e];
        const auto end = chosen_.begin() + static_cast<std::ptrdiff_t>(have);
        if (std::find(chosen_.begin(), end, e) != end) return;  // a token's second choice of it: another row, the same token
        for (std::size_t k = 0; k < have; ++k) ++pair[e * E + chosen_[k]], ++pair[chosen_[k] * E + e];
        chosen_[have++] = e;
    }
    static void write(std::string& text, const long* n, std::size_t size) {
        text += '[';
        for (std::size_t i = 0; i < size; ++i) detail::append(text += i > 0 ? "," : "", n[i]);
        text += ']';
    }
    static void write(std::string& text, const tally& t) {
        detail::append(text += "{\"tokens\":", t.tokens);
        detail::append(text += ",\"dropped\":", t.dropped);
        detail::append(text += ",\"total\":", t.total);
        detail::append(text += ",\"entropy\":", t.entropy());
        detail::append(text += ",\"max_violation\":", t.max_violation());
        write(text += ",\"count\":", t.count.data(), t.count.size());
        text += '}';
    }
};

/// How alike the experts are to the router: cosines of its rows, [E, E], from weights alone. 0 for a row of zeros. For gates whose router
/// has a row for each expert, not for cosine gates. O(E^2 H)
template <class Model, class Format> std::vector<double> router_similarity(const weights<Model, Format>& w) {
    check::owned<Format>("weights", w.model, w);
    const auto E = static_cast<std::size_t>(w.model.experts()), H = static_cast<std::size_t>(w.model.config.hidden);
    std::vector<double> cosine(E * E), length(E);
    for (std::size_t i = 0; i < E; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            double dot = 0;
            for (std::size_t h = 0; h < H; ++h) dot += static_cast<double>(w.router[i * H + h]) * static_cast<double>(w.router[j * H + h]);
            if (i == j) length[i] = std::sqrt(dot);
            cosine[i * E + j] = cosine[j * E + i] = dot;
        }
    for (std::size_t i = 0; i < E * E; ++i)
        if (cosine[i] != 0) cosine[i] /= length[i / E] * length[i % E];
    return cosine;
}

}  // namespace guild::inline v0
