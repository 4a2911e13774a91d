#pragma once
#include "block.hpp"
#include "feed_forward.hpp"
#include "loss.hpp"
#include "mixture.hpp"

#include <span>

namespace language_model {

/// The numbers of the transformer round the mixture.
struct shape {
    int layers = 4;  ///< L, the first of them dense
    int heads = 4;
    int context = 128;       ///< longest sequence, in bytes
    int dense_hidden = 512;  ///< width of the network of the first block
    bool tied = false;       ///< the head is the embedding
    bool operator==(const shape&) const = default;
};
constexpr int vocabulary = 256;  ///< bytes

/// A byte-level language model: embedding, L blocks, norm, head. `Model` describes the mixture in all blocks but the first.
template <class Model, class S> class transformer {
public:
    static constexpr int hidden = Model::config.hidden;
    using dense_block = block<S, feed_forward<S>>;
    using mixture_block = block<S, mixture<Model, S>>;

    struct weights {
        matrix<S> embedding;  ///< [256, H]
        typename dense_block::weights first;
        std::vector<typename mixture_block::weights> rest;  ///< L - 1
        matrix<S> norm;                                     ///< [1, H]
        matrix<S> head;                                     ///< [256, H], empty if tied
    };
    struct state {
        std::vector<matrix<S>> stream;  ///< L + 1 of [T, H]: what enters each block, and what leaves the last
        typename dense_block::state first;
        std::vector<typename mixture_block::state> rest;
        typename norm<S>::state norm;
        matrix<S> top;     ///< [T, H]: what the head reads
        matrix<S> logits;  ///< [T, 256]
        matrix<S> d_top, d_stream, d_below;
    };

    transformer(const shape& s, const threads& team) : shape_(s), team_(team), heads_(hidden, s.heads, s.context) {}

    const shape& form() const { return shape_; }
    const threads& team() const { return team_; }

    /// All zero: gradients, or what a file is read into.
    weights zero() const {
        weights w{matrix<S>::Zero(vocabulary, hidden), {}, {}, matrix<S>::Zero(1, hidden), matrix<S>::Zero(shape_.tied ? 0 : vocabulary, hidden)};
        dense_block::resize(w.first, hidden);
        feed_forward<S>::resize(w.first.feed, hidden, shape_.dense_hidden);
        w.rest.resize(static_cast<std::size_t>(shape_.layers - 1));
        for (auto& b : w.rest) mixture_block::resize(b, hidden);
        return w;
    }
    static parameters<S> list(weights& w) {
        parameters<S> out;
        out.add("model.embed_tokens.weight", w.embedding.data(), vocabulary, hidden);
        dense_block::list(w.first, "model.layers.0.", out);
        for (std::size_t l = 0; l < w.rest.size(); ++l) mixture_block::list(w.rest[l], "model.layers." + std::to_string(l + 1) + ".", out);
        out.add("model.norm.weight", w.norm.data(), 0, hidden);
        if (w.head.size() > 0) out.add("lm_head.weight", w.head.data(), vocabulary, hidden);
        return out;
    }

    /// st.logits = .   bytes [T], T a multiple of `length` <= context: sequences of that length, one after another.
    void forward(const weights& w, std::span<const std::uint8_t> bytes, Eigen::Index length, state& st, guild::batch side = {}) const {
        st.stream.resize(w.rest.size() + 2);
        st.rest.resize(w.rest.size());
        st.stream[0].resize(static_cast<Eigen::Index>(bytes.size()), hidden);
        for (std::size_t t = 0; t < bytes.size(); ++t) st.stream[0].row(static_cast<Eigen::Index>(t)) = w.embedding.row(bytes[t]);
        dense_block::forward(team_, heads_, w.first, st.stream[0], length, st.stream[1], st.first, side);
        for (std::size_t l = 0; l < w.rest.size(); ++l) {
            ++side.seed;  // each layer draws its own random numbers
            mixture_block::forward(team_, heads_, w.rest[l], st.stream[l + 1], length, st.stream[l + 2], st.rest[l], side);
        }
        norm<S>::forward(team_, w.norm, st.stream.back(), st.top, st.norm);
        product(team_, st.top, head(w), st.logits);
    }

    /// gradient += .   st.logits holds the gradient by the logits; bytes and length are those of forward.
    void backward(const weights& w, std::span<const std::uint8_t> bytes, Eigen::Index length, weights& gradient, state& st) const {
        input_gradient(team_, st.logits, head(w), st.d_top);
        weight_gradient(team_, st.logits, st.top, shape_.tied ? gradient.embedding : gradient.head);
        st.d_stream.setZero(st.top.rows(), hidden);
        norm<S>::backward(team_, w.norm, st.stream.back(), st.d_top, st.d_stream, gradient.norm, st.norm);
        for (std::size_t l = w.rest.size(); l-- > 0; st.d_stream.swap(st.d_below))
            mixture_block::backward(team_, heads_, w.rest[l], st.stream[l + 1], length, st.d_stream, st.d_below, gradient.rest[l], st.rest[l]);
        dense_block::backward(team_, heads_, w.first, st.stream[0], length, st.d_stream, st.d_below, gradient.first, st.first);
        for (std::size_t t = 0; t < bytes.size(); ++t) gradient.embedding.row(bytes[t]) += st.d_below.row(static_cast<Eigen::Index>(t));
    }

    /// Sum of the balance losses of all layers on what the state holds.
    double balance_loss(const weights& w, state& st) const {
        double sum = 0;
        for (std::size_t l = 0; l < w.rest.size(); ++l)
            sum += static_cast<double>(mixture<Model, S>::balance_loss(team_, w.rest[l].feed, st.rest[l].feed));
        return sum;
    }
    /// How many tokens each expert of mixture l received.
    guild::load load(const weights& w, const state& st, std::size_t l) const {
        return mixture<Model, S>::load(team_, w.rest[l].feed, st.rest[l].feed);
    }

private:
    const matrix<S>& head(const weights& w) const { return shape_.tied ? w.embedding : w.head; }

    shape shape_;
    threads team_;
    attention<S> heads_;
};

}  // namespace language_model
