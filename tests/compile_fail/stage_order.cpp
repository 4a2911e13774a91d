// expect: guild::model: no stage of the gate chooses experts \(top_k, everyone, hash_table, ...\)
// expect: guild::model: no stage of the gate chooses experts
// expect: guild::model: no stage of the gate chooses experts
// expect: guild::model: a stage of the gate weighs or drops experts \(weigh, joint_shared, capacity, ...\) before any stage has chosen them
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate shapes a ranking \(selection_bias, group_limit, ...\) by which no later stage chooses
// expect: guild::model: a stage of the gate shapes a ranking
// expect: guild::model: a stage of the gate shapes a ranking
// expect: guild::model: a stage of the gate shapes a ranking
// expect: guild::model: a stage of the gate shapes a ranking
// expect: guild::model: a stage of the gate shapes a ranking
// expect: guild::model: a stage of the gate changes scores \(score, change_logits, noise, ...\) that no later stage reads
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: a stage of the gate changes scores
// expect: guild::model: what a stage of the gate chooses or weighs is replaced by a later stage
// expect: guild::model: what a stage of the gate chooses or weighs
// expect: guild::model: what a stage of the gate chooses or weighs
// expect: guild::model: what a stage of the gate chooses or weighs
// expect: guild::model: a stage of the gate weighs shared experts \(joint_shared\), and the gate has no weighs_shared = true
// expect: guild::model: the gate has weighs_shared = true, and none of its stages weighs shared experts \(joint_shared\)
// expect: guild::model: no stage of the gate chooses experts
// expect: guild::model: a stage of the gate weighs or drops experts
// expect: guild::model: a stage of the gate shapes a ranking
#include <guild/balance/losses.hpp>
#include <guild/gate/stage/load_penalty.hpp>
#include <guild/model.hpp>

// Stages in an order that does nothing, and the siblings of each that do something, which compile.
using namespace guild;
constexpr config numbers{.hidden = 8, .expert_hidden = 4, .routed_experts = 8, .top_k = 2, .shared_experts = 1};
template <auto... Stages> struct gate {
    constexpr auto stages() const { return pipeline{Stages...}; }
};
template <auto... Stages> struct sharing : gate<Stages...> { static constexpr bool weighs_shared = true; };
constexpr auto softmaxes = score{softmax{}};
constexpr auto unit = weigh{unit_sum{}};
/// A model, defined.
template <auto... Policies> constexpr int of = model<numbers, Policies...>::config.hidden;
template <auto... Stages> constexpr int by = of<gate<Stages...>{}>;

// A stage that says nothing may do anything, one that says what it does is held to it.
struct unknown {
    void forward(const auto&, auto&) const {}
};
struct chooser : unknown {
    static constexpr row_part reads = row_part::none, writes = row_part::choice | row_part::weight;
};

int nobody[] = {by<>, by<softmaxes>, by<softmaxes, selection_bias{}, group_limit{.groups = 2}>};
int early[] = {by<softmaxes, unit, top_k{}>,
               by<unit, unknown{}>,
               by<weigh_one{}, top_k{}>,
               by<expert_scale{}, top_k{}>,
               of<sharing<softmaxes, joint_shared{}, top_k{}>{}>,
               by<capacity{}, top_k{}>,
               by<device_capacity{}, top_k{}>,
               by<heterogeneous_capacity{}, top_k{}>,
               by<random_second{}, top_k{}>,
               by<sampled_second{}, top_k{}>,
               of<z_loss{}, gate<balanced_assignment{}, top_k{}>{}>};
int ranks[] = {by<softmaxes, top_k{}, selection_bias{}>, by<softmaxes, top_k{}, group_limit{.groups = 2}, unit>,
               by<softmaxes, top_k{}, load_penalty{}>,   by<selection_bias{}, hash_table{}>,
               by<selection_bias{}, sparse_mixer{}>,     by<softmaxes, group_limit{.groups = 2}, everyone{}>};
int scores[] = {by<top_k{}, softmaxes>,
                by<top_k{}, score{sigmoid{}}, unit>,
                by<top_k{}, change_logits{times{2}}>,
                by<top_k{}, router_bias{}>,
                by<top_k{}, learned_noise{}>,
                by<top_k{}, gating_residual{}>,
                by<top_k{}, hierarchy{}>,
                of<z_loss{}, gate<top_k{}, router_bias{}>{}>};
int replaced[] = {by<top_k{}, hash_table{}>, by<top_k{}, top_k{}>, by<top_k{}, unit, weigh_one{}>, by<chooser{}, top_k{}>};
int shared[] = {by<softmaxes, top_k{}, joint_shared{}>, of<sharing<softmaxes, top_k{}, unit>{}>};
template <auto... Stages> constexpr auto dynamic = sizeof(dynamic_model<gate<Stages...>>);
auto at_run_time = dynamic<softmaxes> + dynamic<unit, top_k{}> + dynamic<top_k{}, selection_bias{}>;

// These have an effect.
int used[] = {by<unknown{}>,
              by<chooser{}, unit>,
              by<unknown{}, unit>,
              by<top_k{}, selection_bias{}, unknown{}>,
              by<top_k{}, softmaxes, unknown{}>,
              by<selection_bias{}, unknown{}, top_k{}>,
              by<softmaxes, top_k{}, unit, capacity{}, unit>,
              by<softmaxes, top_k{}, sampled_second{}, capacity{}>,
              by<softmaxes, top_k{}, unit, weigh{times{2}}>,
              by<softmaxes, selection_bias{}, selection_bias{}, group_limit{.groups = 2}, top_k{}>,
              by<softmaxes, hash_table{}, weigh_one{}>,
              of<expert_loss{}, gate<top_k{}, softmaxes, weigh{softmax{}}>{}>};
