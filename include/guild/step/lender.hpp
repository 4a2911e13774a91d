#pragma once
#include <guild/weights/packed_weights.hpp>

#include <concepts>
#include <optional>

namespace guild::inline v0::detail {

/// Whose packed weights a backend takes: its own, unless it wraps another one.
template <class Backend> struct packer_of { using type = Backend; };
template <class Backend>
requires requires { typename Backend::packer; }
struct packer_of<Backend> {
    using type = typename Backend::packer;
};

/// What a layer keeps of its weights. Of those that own their memory the address: they may be assigned to, swapped or moved into between calls, and
/// are checked and looked at once a call. A view is kept as it was given.
template <class Model, class Format, class Backend> class lender {
public:
    using view = weights_view<Format>;
    using place = std::optional<view>;
    explicit lender(const weights<Model, Format>& w) : owner_(&w) {}
    explicit lender(const view& w) : view_(w) {}

    /// The weights as they are; a view of those that own their memory is made `here`.
    const view& lend([[maybe_unused]] place& here) const {
        if constexpr (owns)
            if (owner_) return here.emplace(owner_->lend());
        return view_;
    }
    void check([[maybe_unused]] const Model& m, const Backend&) const {
        if constexpr (owns)
            if (owner_) guild::check::owned<Format>("weights", m, *owner_);
    }
    /// Of whom a tape is that a forward over these weights has filled.
    const void* identity() const { return owner_ ? static_cast<const void*>(owner_) : view_.router.data; }

private:
    /// A format of a user's own may serve views alone.
    static constexpr bool owns = requires(const typename format<Format>::storage& s) { format<Format>::lend(s, 1L, 1L); };
    const weights<Model, Format>* owner_ = nullptr;
    view view_{};
};

/// Of weights in memory that is the backend's, and no business of a layer's.
template <class Model, class Format, class Backend>
requires(!std::same_as<typename Backend::template weights<Model, Format>, weights<Model, Format>>) class lender<Model, Format, Backend> {
public:
    using view = typename Backend::template weights<Model, Format>;
    struct place {};
    explicit lender(const view& w) : owner_(&w) {}

    const view& lend(place&) const { return *owner_; }
    void check(const Model&, const Backend&) const {}
    const void* identity() const { return owner_; }

private:
    const view* owner_;
};

template <class Model, class Format, class Backend> class lender<Model, packed<Format>, Backend> {
public:
    using owner = packed_weights<Model, Format, typename packer_of<Backend>::type>;
    using view = typename owner::view;
    struct place {};
    explicit lender(const owner& w) : owner_(&w) {}

    const view& lend(place&) const { return owner_->lend(); }
    void check(const Model& m, const Backend& b) const {
        owner_->check(m);
        guild::check::packed(b, owner_->lend());
    }
    const void* identity() const { return owner_; }

private:
    const owner* owner_;
};

}  // namespace guild::inline v0::detail
