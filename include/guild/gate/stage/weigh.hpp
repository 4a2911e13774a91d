#pragma once
#include <guild/gate/stage/map.hpp>

/// Stages that apply a map.
namespace guild::inline v0 {

/// To all E scores, before a selection. The scores that balance losses read are those after the last such stage.
template <class Map> struct score {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool scores = true;
    Map map;  ///< to all E scores
    constexpr bool fits(int, int) const {
        if constexpr (requires { map.valid(); }) return map.valid();
        else return true;
    }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const { map.forward(experts_of{r}); }
    GUILD_HOST_DEVICE void backward(const auto&, const auto& in, const auto& out, auto& g) const {
        map.backward(experts_of{in}, experts_of{out}, experts_of{g});
    }
};
/// From the map.
template <class Map> score(Map) -> score<Map>;

/// To all E logits, which stay logits: losses that read logits see the result.
template <class Map> struct change_logits {
    static constexpr row_part reads = row_part::score, writes = row_part::score;
    static constexpr bool logits = true;
    Map map;  ///< to all E logits
    constexpr bool fits(int, int) const {
        if constexpr (requires { map.valid(); }) return map.valid();
        else return true;
    }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const { map.forward(experts_of{r}); }
    GUILD_HOST_DEVICE void backward(const auto&, const auto& in, const auto& out, auto& g) const {
        map.backward(experts_of{in}, experts_of{out}, experts_of{g});
    }
};
/// From the map.
template <class Map> change_logits(Map) -> change_logits<Map>;

/// To the weights of the chosen, after a selection.
template <class Map> struct weigh {
    static constexpr row_part reads = row_part::choice | row_part::weight, writes = row_part::weight;
    Map map;  ///< to the weights of the chosen
    constexpr bool fits(int, int) const {
        if constexpr (requires { map.valid(); }) return map.valid();
        else return true;
    }
    GUILD_HOST_DEVICE void forward(const auto&, auto& r) const { map.forward(slots_of{r}); }
    GUILD_HOST_DEVICE void backward(const auto&, const auto& in, const auto& out, auto& g) const {
        map.backward(slots_of{in}, slots_of{out}, slots_of{g});
    }
};
/// From the map.
template <class Map> weigh(Map) -> weigh<Map>;

}  // namespace guild::inline v0
