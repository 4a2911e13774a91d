#pragma once
#include "corpus.hpp"
#include "initialise.hpp"
#include "model.hpp"
#include "optimiser.hpp"
#include "outcome.hpp"
#include "progress.hpp"

namespace language_model {

struct settings {
    long steps = 0;
    double minutes = 0;  ///< > 0: as many steps as take about this long, found from the speed of the first ones
    int sequences = 8;   ///< per step
    unsigned long long seed = 1;
    language_model::schedule schedule{};
};

struct evaluation {
    double bits = 0;                ///< per byte
    std::vector<guild::load> load;  ///< of each mixture
};

/// The loss on the windows given, a few sequences at a time, in their order.
template <class Model, class S>
evaluation evaluate(const transformer<Model, S>& model, const typename transformer<Model, S>::weights& w,
                    std::span<const std::span<const std::uint8_t>> windows, int sequences, typename transformer<Model, S>::state& st) {
    evaluation out;
    out.load.resize(w.rest.size());
    examples batch;
    double nats = 0;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < windows.size(); i += static_cast<std::size_t>(sequences)) {
        batch.clear();
        for (std::size_t k = i; k < std::min(windows.size(), i + static_cast<std::size_t>(sequences)); ++k) batch.add(windows[k]);
        model.forward(w, batch.bytes, static_cast<Eigen::Index>(windows[i].size() - 1), st);
        nats += cross_entropy(model.team(), st.logits, batch.target, false) * static_cast<double>(batch.target.size());
        bytes += batch.target.size();
        for (std::size_t l = 0; l < w.rest.size(); ++l) out.load[l] += model.load(w, st, l);
    }
    out.bits = bits(nats / static_cast<double>(bytes));
    return out;
}

/// One model being trained: its gradients, the optimiser's memory, the batch at hand.
template <class Model> class trainer {
public:
    using network = transformer<Model, float>;

    /// Borrows the weights and gives them their first values.
    trainer(const network& model, typename network::weights& w, const settings& how)
        : model_(model),
          how_(how),
          weights_(w),
          gradient_(model.zero()),
          list_(model.list(w)),
          gradient_list_(model.list(gradient_)),
          optimiser_(list_) {
        initialise(list_, model.form().layers, model.form().tied, how.seed);
    }

    /// Reads `sequences` windows of the text and moves the weights once; returns the loss before that, in bits per byte.
    double step(const windows& text, long number, double rate) {
        batch_.clear();
        for (int i = 0; i < how_.sequences; ++i)
            batch_.add(text.at(static_cast<long>(uniform(how_.seed, purpose::windows, number, i) * static_cast<double>(text.count()))));
        model_.forward(weights_, batch_.bytes, text.length(), state, {.first = number * tokens(), .seed = how_.seed, .training = true});
        const double loss = bits(cross_entropy(model_.team(), state.logits, batch_.target, true));
        clear(model_.team(), gradient_list_);
        model_.backward(weights_, batch_.bytes, text.length(), gradient_, state);
        optimiser_.step(model_.team(), list_, gradient_list_, rate);
        return loss;
    }
    /// Bytes read in the last step.
    long tokens() const { return static_cast<long>(batch_.bytes.size()); }
    long parameters() const { return list_.count(); }
    /// Load of the busiest expert in the last step as a multiple of the mean load, mean over the mixtures.
    double busiest() const {
        double sum = 0;
        for (std::size_t l = 0; l < weights_.rest.size(); ++l) sum += 1 + model_.load(weights_, state, l).max_violation();
        return sum / static_cast<double>(weights_.rest.size());
    }
    typename network::state state;

private:
    const network& model_;
    settings how_;
    typename network::weights& weights_;
    typename network::weights gradient_;
    language_model::parameters<float> list_, gradient_list_;
    adamw<float> optimiser_;
    examples batch_;
};

/// Trains one model from its first weights on. Same arguments, same bits, for any number of threads; with `minutes` the number of
/// steps depends on the machine, and the bits are those of a run with that number.
template <class Model>
outcome train(const char* name, const transformer<Model, float>& model, typename transformer<Model, float>::weights& w, const windows& text,
              const std::vector<std::span<const std::uint8_t>>& held_out, const settings& how, progress& line) {
    using clock = std::chrono::steady_clock;
    constexpr long probe = 12, milestones = 16;
    constexpr std::size_t few = 160;                  // windows for the curve,
    std::vector<std::span<const std::uint8_t>> some;  // spread over the held-out text
    for (std::size_t i = 0, n = std::min(few, held_out.size()); i < n; ++i) some.push_back(held_out[i * held_out.size() / n]);

    trainer<Model> one(model, w, how);
    outcome out{.name = name, .parameters = one.parameters()};
    long steps = how.minutes > 0 ? 0 : how.steps, since = 0;  // since: steps after the last milestone
    double sum = 0, last = -1;
    while (steps == 0 || out.steps < steps) {
        const auto begin = clock::now();
        sum += one.step(text, out.steps, how.schedule.at(out.steps, steps));
        out.seconds += std::chrono::duration<double>(clock::now() - begin).count();
        out.training = sum / static_cast<double>(++since);
        out.tokens += one.tokens();
        ++out.steps;
        if (steps == 0 && out.steps == probe) steps = std::max(probe, static_cast<long>(how.minutes * 60 * probe / out.seconds));
        const bool milestone = steps > 0 && (out.steps % ((steps + milestones - 1) / milestones) == 0 || out.steps == steps);
        const double busiest = one.busiest();
        if (milestone) {
            last = evaluate<Model, float>(model, w, some, how.sequences, one.state).bits;
            out.curve.push_back({out.steps, out.tokens, out.training, last});
            sum = 0, since = 0;
        }
        line.show({name, out.steps, steps, out.training, last, out.tokens_per_second(), busiest, milestone});
    }
    line.finish();
    const evaluation whole = evaluate<Model, float>(model, w, held_out, how.sequences, one.state);
    out.held_out = whole.bits;
    for (const guild::load& l : whole.load) out.load.push_back(l.count);
    return out;
}

}  // namespace language_model
