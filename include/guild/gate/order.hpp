#pragma once
#include <guild/core/rule.hpp>
#include <guild/gate/pipeline.hpp>

/// Whether the stages of a gate come in an order in which each has an effect, by what they say to read and write. A stage that says nothing may
/// do anything: it and what it may need or use up is never refused.
namespace guild::inline v0::detail {

constexpr row_part whole_row = row_part::score | row_part::bias | row_part::choice | row_part::weight | row_part::shared;

/// Whether a and b have something in common; a without what is in b.
constexpr bool has(row_part a, row_part b) { return static_cast<unsigned>(a) & static_cast<unsigned>(b); }
constexpr row_part without(row_part a, row_part b) { return static_cast<row_part>(static_cast<unsigned>(a) & ~static_cast<unsigned>(b)); }

struct stage_flow {
    bool known = false;
    row_part reads = whole_row, writes = whole_row;
};
template <class Stage> constexpr stage_flow flow_of() {
    if constexpr (requires { Stage::reads, Stage::writes; }) return {true, Stage::reads, Stage::writes};
    else return {};
}
/// What the gate's user does with the row.
struct row_use {
    bool losses = false;         ///< read scores, the choice before `decide`, and logits
    bool weighs_shared = false;  ///< takes weights of shared experts
};

template <class... Stages> constexpr bool order_rules(const pipeline<Stages...>*, row_use use) {
    using gate = pipeline<Stages...>;
    const stage_flow flow[] = {flow_of<Stages>()..., stage_flow{}};
    bool chosen = false, shared = false, known = true;
    for (int i = 0; i < gate::size; ++i) {
        const stage_flow f = flow[i];
        rule("guild::model: a stage of the gate weighs or drops experts (weigh, joint_shared, capacity, ...) before any stage has chosen them",
             chosen || !f.known || !has(f.reads, row_part::choice | row_part::weight), "stage ", i);
        chosen = chosen || has(f.writes, row_part::choice);
        shared = shared || (f.known && has(f.writes, row_part::shared));
        known = known && f.known;
    }
    rule("guild::model: no stage of the gate chooses experts (top_k, everyone, hash_table, ...)", chosen, gate::size, " stages");
    rule("guild::model: a stage of the gate weighs shared experts (joint_shared), and the gate has no weighs_shared = true",
         use.weighs_shared || !shared, "none");
    rule("guild::model: the gate has weighs_shared = true, and none of its stages weighs shared experts (joint_shared)",
         !use.weighs_shared || shared || !known, gate::size, " stages");
    row_part used = row_part::choice | row_part::weight | row_part::shared;  // of the row after stage i
    for (int i = gate::size - 1; i >= 0; --i) {
        if (use.losses && (i + 1 == gate::scored || i + 1 == gate::logits_end)) used = used | row_part::score;
        if (use.losses && i + 1 == gate::across) used = used | row_part::choice;
        const stage_flow f = flow[i];
        const bool effect = !f.known || has(f.writes, used);
        rule("guild::model: a stage of the gate shapes a ranking (selection_bias, group_limit, ...) by which no later stage chooses",
             effect || f.writes != row_part::bias, "stage ", i);
        rule("guild::model: a stage of the gate changes scores (score, change_logits, noise, ...) that no later stage reads",
             effect || !has(f.writes, row_part::score), "stage ", i);
        rule("guild::model: what a stage of the gate chooses or weighs is replaced by a later stage", effect, "stage ", i);
        if (f.known) used = without(used, without(f.writes, f.reads)) | f.reads;
        else used = whole_row;
    }
    return true;
}

}  // namespace guild::inline v0::detail
