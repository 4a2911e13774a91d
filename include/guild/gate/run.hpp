#pragma once
#include <guild/core/error.hpp>
#include <guild/core/present.hpp>
#include <guild/core/scratch.hpp>
#include <guild/dispatch/choice.hpp>
#include <guild/gate/pipeline.hpp>

#include <vector>

/// Step 1 of 4, gate: logits [T, P] -> choice [T, W], one pass over the tokens, two where a stage looks across them.
/// Backward needs the logits and what was decided across tokens; everything between is recomputed.
namespace guild::inline v0 {

/// What the stages read beside the scores; see token.
template <class S> struct gate_data {
    const S* learned = nullptr;        ///< [learned(E) of all stages, one after the other]
    const real_t<S>* state = nullptr;  ///< [state(E) of all stages, one after the other]
    const int* table = nullptr;        ///< [vocabulary, K]
    long vocabulary = 0;               ///< rows of the table
    view<const S> previous{};          ///< [T, E] of the batch: logits of the layer before
};

/// What a gate leaves behind.
template <class S> struct gate_result {
    guild::choice<S> choice;        ///< [T, W]
    buffer<int> wanted, decided;    ///< [T, W] before and after `decide`; unused without such a stage
    buffer<S> shared;               ///< [T, X] weights of the shared experts, where the gate gives them
    buffer<long> counters;          ///< scratch of `decide`
    buffer<rank<real_t<S>>> ranks;  ///< the same
    buffer<S> score;                ///< [T, E] what `decide` saw
    present_tokens present;         ///< which tokens are not padding

    /// [T, W] what the tokens asked for, before anything was dropped.
    template <class Pipeline> const int* asked() const { return Pipeline::across < Pipeline::size ? wanted.data() : choice.expert.data(); }
};

namespace gate {

/// Tokens, padding not counted, whose gradients of learned numbers are summed together; the partial sums are then added in order.
constexpr long learned_chunk = 64;

/// Token t of a batch as the stages see it; decided [W] or null.
template <class S> token<S> token_at(long t, const batch& side, const gate_data<S>& d, const int* decided) {
    return {.index = t,
            .position = side.position.empty() ? side.first + t : side.position[static_cast<std::size_t>(t)],
            .id = side.token_id.empty() ? -1 : side.token_id[static_cast<std::size_t>(t)],
            .training = side.training,
            .seed = side.seed,
            .draws = side.draws.data(),
            .draw_streams = static_cast<int>(side.draws.size()),
            .learned = d.learned,
            .state = d.state,
            .table = d.table,
            .decided = decided,
            .previous = d.previous.data ? d.previous.row(t) : nullptr};
}
/// Whether token t is padding.
inline bool padded(const batch& side, long t) { return !side.padding.empty() && side.padding[static_cast<std::size_t>(t)]; }

/// A row before its first stage; logit [P].
template <class Row, class S> Row load(const auto& extent, const S* logit) {
    Row r;
    r.n = extent;
    for (int e = 0; e < r.n.experts; ++e) r.score[e] = logit[e];
    for (int e = 0; e < r.n.experts; ++e) r.bias[e] = 0;
    for (int i = 0; i < r.n.extra; ++i) r.extra[i] = logit[r.n.experts + i];
    for (int k = 0; k < r.n.slots; ++k) r.expert[k] = no_expert;
    for (int k = 0; k < r.n.slots; ++k) r.weight[k] = S(0);
    return r;
}

namespace detail {
template <class Row, class S> void store(const Row& r, bool skip, long t, choice<S>& c) {
    for (int k = 0; k < c.slots; ++k) {
        c.expert[t * c.slots + k] = skip ? no_expert : r.expert[k];
        c.weight[t * c.slots + k] = skip || r.expert[k] == no_expert ? S(0) : r.weight[k];
    }
}
template <class Row, class S> void store_shared(const Row& r, bool skip, long t, buffer<S>& shared) {
    for (int i = 0; i < r.n.extra; ++i) shared[t * r.n.extra + i] = skip ? S(0) : r.extra[i];
}
}  // namespace detail

/// Whether the gate leaves weights of the shared experts in row.extra.
template <class Model> inline constexpr bool weighs_shared = requires { requires std::remove_cvref_t<decltype(Model::gate)>::weighs_shared; };

/// logit [T, P] -> result.choice =. O(T (E + W)) beside the stages.
template <class B, class Model, class S>
void forward(const B& b, const Model& m, const gate_data<S>& data, const batch& side, view<const S> logit, gate_result<S>& result) {
    const auto stages = m.stages();
    const auto extent = m.extent();
    using row = guild::row<S, std::remove_const_t<decltype(extent)>>;
    constexpr int across = decltype(stages)::across, size = decltype(stages)::size;
    const long T = logit.rows, E = extent.experts, W = extent.slots;
    choice<S>& c = result.choice;
    c.resize(T, extent.slots);
    result.present.find(side, T);
    if constexpr (weighs_shared<Model>) result.shared.shape(T, extent.extra);

    if constexpr (across < size) {
        result.score.shape(T, E);
        result.wanted.shape(T, W);
        result.decided.shape(T, W);
        b.each(T, [&](long begin, long end) {
            for (long t = begin; t < end; ++t) {
                row r = load<row>(extent, logit.row(t));
                if (!padded(side, t)) stages.template forward<0, across>(token_at(t, side, data, nullptr), r);
                detail::store(r, padded(side, t), t, c);
                for (int e = 0; e < r.n.experts; ++e) result.score[t * E + e] = r.score[e];
                for (long i = t * W; i < (t + 1) * W; ++i) result.decided[i] = result.wanted[i] = c.expert[i];
            }
        });
        stages.template get<across>().decide(crowd<S>{T, static_cast<int>(E), static_cast<int>(W), result.score.data(), c.weight.data(),
                                                      result.decided.data(), &side, &result.counters, &result.ranks});
    }
    b.each(T, [&](long begin, long end) {
        for (long t = begin; t < end; ++t) {
            row r = load<row>(extent, logit.row(t));
            if (!padded(side, t)) stages.forward(token_at(t, side, data, across < size ? &result.decided[t * W] : nullptr), r);
            detail::store(r, padded(side, t), t, c);
            if constexpr (weighs_shared<Model>) detail::store_shared(r, padded(side, t), t, result.shared);
        }
    });
}

/// What balance losses read: logits [T, E] as scored, after the stages that change logits, and scores [T, E], after the last `score` stage;
/// 0 for padded tokens.
template <class B, class Model, class S>
void scores(const B& b, const Model& m, const gate_data<S>& data, const batch& side, view<const S> logit, view<S> scored_logit, view<S> score) {
    const auto stages = m.stages();
    const auto extent = m.extent();
    using row = guild::row<S, std::remove_const_t<decltype(extent)>>;
    using pipeline = decltype(stages);
    b.each(logit.rows, [&](long begin, long end) {
        for (long t = begin; t < end; ++t) {
            if (padded(side, t)) {
                for (int e = 0; e < extent.experts; ++e) scored_logit(t, e) = score(t, e) = S(0);
                continue;
            }
            row r = load<row>(extent, logit.row(t));
            const auto token = token_at(t, side, data, nullptr);
            stages.template forward<0, pipeline::logits_end>(token, r);
            for (int e = 0; e < r.n.experts; ++e) scored_logit(t, e) = r.score[e];
            stages.template forward<pipeline::logits_end, pipeline::scored>(token, r);
            for (int e = 0; e < r.n.experts; ++e) score(t, e) = r.score[e];
        }
    });
}

/// -> out [T, E] = the logits after the stages that change them, to be passed to the next layer; 0 for padded tokens.
template <class B, class Model, class S>
void changed_logits(const B& b, const Model& m, const gate_data<S>& data, const batch& side, view<const S> logit, view<S> out) {
    const auto stages = m.stages();
    const auto extent = m.extent();
    using row = guild::row<S, std::remove_const_t<decltype(extent)>>;
    b.each(logit.rows, [&](long begin, long end) {
        for (long t = begin; t < end; ++t) {
            row r = load<row>(extent, logit.row(t));
            if (!padded(side, t)) stages.template forward<0, decltype(stages)::logits_end>(token_at(t, side, data, nullptr), r);
            for (int e = 0; e < r.n.experts; ++e) out(t, e) = padded(side, t) ? S(0) : r.score[e];
        }
    });
}

/// Gradients by what a gate gave, for `backward`: by weights [T, W], by shared weights [T, X] or null, by logits as scored and by scores
/// [T, E] or null.
template <class S> struct result_gradient {
    view<const S> weight;       ///< [T, W]
    const S* shared = nullptr;  ///< [T, X] or null
    view<const S> logit{};      ///< [T, E] or without data
    const S* score = nullptr;   ///< [T, E] or null
};

/// -> d_logit [T, P] +=, d_learned [L] += in an order that depends on the number of tokens alone, d_previous [T, E] = if given. `partial` is
/// scratch for L numbers per 64 tokens; so is `notes`, if given, for the adjoints that are derived. A padded token adds to nothing; its d_previous
/// is 0.
template <class B, class Model, class S>
void backward(const B& b, const Model& m, const gate_data<S>& data, const batch& side, view<const S> logit, const gate_result<S>& result,
              const result_gradient<S>& by, view<S> d_logit, S* d_learned, buffer<S>& partial, view<S> d_previous = {},
              std::vector<scratch>* notes = nullptr) {
    const auto stages = m.stages();
    const auto extent = m.extent();
    using row = guild::row<S, std::remove_const_t<decltype(extent)>>;
    constexpr int across = decltype(stages)::across, size = decltype(stages)::size;
    const present_tokens& present = result.present;
    const long T = present.count(), L = stages.learned(extent.experts), W = extent.slots, chunks = (T + learned_chunk - 1) / learned_chunk;
    const view<S> sums = partial.shape(chunks, L);
    std::vector<scratch> own;
    if (!notes) notes = &own;
    if (decltype(stages)::template derives<S, row> && notes->size() < static_cast<std::size_t>(chunks))
        notes->resize(static_cast<std::size_t>(chunks));
    if (d_previous.data)
        for (long t = 0; t < logit.rows; ++t)
            for (int e = 0; e < extent.experts; ++e) d_previous(t, e) = S(0);

    b.each(chunks, [&](long first, long last) {
        for (long chunk = first; chunk < last; ++chunk) {
            for (long l = 0; l < L; ++l) sums(chunk, l) = S(0);
            for (long i = chunk * learned_chunk; i < T && i < (chunk + 1) * learned_chunk; ++i) {
                const long t = present[i];
                const row r = load<row>(extent, logit.row(t));
                row_gradient<row> g;
                static_cast<row&>(g) = r;
                for (int e = 0; e < g.n.experts; ++e) g.score[e] = S(0);
                for (int x = 0; x < g.n.extra; ++x) g.extra[x] = by.shared ? by.shared[t * g.n.extra + x] : S(0);
                for (int k = 0; k < g.n.slots; ++k) g.weight[k] = by.weight(t, k);
                g.learned = L > 0 ? sums.row(chunk) : nullptr;
                g.previous = d_previous.data ? d_previous.row(t) : nullptr;
                if constexpr (decltype(stages)::template derives<S, row>) g.memory = &(*notes)[static_cast<std::size_t>(chunk)];
                stages.backward(token_at(t, side, data, across < size ? &result.decided[t * W] : nullptr), r, g,
                                by.score ? by.score + t * g.n.experts : nullptr, by.logit.data ? by.logit.row(t) : nullptr);
                for (int e = 0; e < g.n.experts; ++e) d_logit(t, e) += g.score[e];
                for (int x = 0; x < g.n.extra; ++x) d_logit(t, g.n.experts + x) += g.extra[x];
            }
        }
    });
    for (long chunk = 0; chunk < chunks; ++chunk)
        for (long l = 0; l < L; ++l) d_learned[l] += sums(chunk, l);
}

}  // namespace gate
}  // namespace guild::inline v0
