#pragma once
#include <guild/cost/layer.hpp>

/// The transformer round a mixture, from its real shapes.
namespace guild::inline v0::cost {

/// What an attention block costs; made by grouped_attention and latent_attention.
struct attention {
    std::int64_t parameters = 0;  ///< of one block
    std::int64_t per_pair = 0;    ///< multiply-adds of one query with one key and its value, all heads
};

/// Multi-head attention, kv_heads of them for keys and values (kv_heads = heads: plain, 1: multi-query).
struct grouped_attention {
    /// H, heads of queries, heads of keys and values, width of each.
    int hidden, heads, kv_heads, head_dim;
    bool input_bias = false;   ///< of queries, keys and values
    bool output_bias = false;  ///< of the projection back
    bool norm = false;         ///< a norm [head_dim] of queries and one of keys
    /// What a block of it costs.
    constexpr operator attention() const {
        const std::int64_t q = std::int64_t(heads) * head_dim, kv = 2 * std::int64_t(kv_heads) * head_dim;
        return {.parameters = hidden * (2 * q + kv) + (input_bias ? q + kv : 0) + (output_bias ? hidden : 0) + (norm ? 2 * head_dim : 0),
                .per_pair = 2 * q};
    }
};

/// Multi-head latent attention of DeepSeek-V2 (arXiv:2405.04434, section 2.1), with the norms of both latents.
struct latent_attention {
    /// H, and how many heads.
    int hidden, heads;
    int query_rank;  ///< 0: queries straight from x
    int kv_rank;     ///< width of the latent of keys and values
    /// Widths without and with rotary position, and of the values.
    int nope_dim, rope_dim, value_dim;  ///< of one head
    /// What a block of it costs.
    constexpr operator attention() const {
        const std::int64_t qk = std::int64_t(heads) * (nope_dim + rope_dim), value = std::int64_t(heads) * value_dim;
        const std::int64_t query = query_rank > 0 ? query_rank * (hidden + 1 + qk) : hidden * qk;
        const std::int64_t latent = std::int64_t(hidden) * (kv_rank + rope_dim) + kv_rank;
        return {.parameters = query + latent + kv_rank * (std::int64_t(heads) * nope_dim + value) + value * hidden, .per_pair = qk + value};
    }
};

/// A decoder of L layers. The first `dense_layers` have a plain feed-forward network; of the others every `period`-th is
/// the mixture, the rest plain.
struct transformer {
    mixture layer;              ///< of a layer that is a mixture
    cost::attention attention;  ///< of every layer
    int layers;                 ///< L
    int vocabulary;             ///< rows of the embedding and of the head
    bool tied_head = false;     ///< the head is the input embedding
    int dense_layers = 0;       ///< leading layers without mixture
    int dense_hidden = 0;       ///< width of the plain networks
    int dense_inputs = 2;       ///< their matrices that read x
    int period = 1;             ///< of the layers after those, every how many-th is a mixture
    int norms = 2;              ///< norms [H] of a layer; one more stands before the head

    /// How many layers are mixtures.
    constexpr int mixture_layers() const { return (layers - dense_layers) / period; }
    /// Of the input embedding, as many as of a head of its own.
    constexpr std::int64_t embedding_parameters() const { return std::int64_t(vocabulary) * layer.config.hidden; }

    /// All numbers of the model.
    constexpr std::int64_t parameters() const { return outside() + embeddings() + mixture_layers() * layer.parameters(); }
    /// The numbers that one token passes, input embedding included.
    constexpr std::int64_t active_parameters() const { return outside() + embeddings() + mixture_layers() * layer.active_parameters(); }
    /// N_act of the FLOPs: the active numbers without the input embedding and with the head (a tied head multiplies too).
    constexpr std::int64_t multiplied_parameters() const { return active_parameters() - (tied_head ? 0 : embedding_parameters()); }

    /// One training step, forward and backward, on one sequence of T tokens: 6 N_act T + 6 L T^2 per_pair, which for plain
    /// multi-head attention with heads * head_dim = d is 6 N_act T + 12 L T^2 d. Attention is counted in full, not halved for
    /// causality. This is the paper's formula on real shapes: DeepSeekMoE 16B has 75.9 T at T = 4096 where the paper, with
    /// idealised shapes (cost/paper.hpp), says 74.4 T.
    constexpr double training_flops(double tokens) const {
        detail::at_least_0("tokens", tokens);
        return 6 * tokens * (double(multiplied_parameters()) + double(layers) * tokens * double(attention.per_pair));
    }
    /// The forward pass of it: a third.
    constexpr double forward_flops(double tokens) const { return training_flops(tokens) / 3; }

private:
    constexpr std::int64_t outside() const {
        const std::int64_t dense = network_parameters(layer.config.hidden, dense_hidden, dense_inputs);
        const std::int64_t norm = layer.config.hidden;
        return layers * (attention.parameters + norms * norm) + norm + (layers - mixture_layers()) * dense;
    }
    constexpr std::int64_t embeddings() const { return (tied_head ? 1 : 2) * embedding_parameters(); }
};

}  // namespace guild::inline v0::cost
