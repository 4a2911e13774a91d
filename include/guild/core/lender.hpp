#pragma once
#include <guild/core/packed_weights.hpp>

namespace guild::inline v0::detail {

/// What a layer keeps of its weights. Of those that own their memory the address: they may be assigned to, swapped or moved into between calls, and
/// are checked and looked at once a call. A view is kept as it was given.
template <class Model, class Format, class Backend> class lender {
public:
    using view = weights_view<Format>;
    explicit lender(const weights<Model, Format>& w) : owner_(&w) {}
    explicit lender(const view& w) : view_(w) {}

    view lend() const { return owner_ ? owner_->lend() : view_; }
    void check(const Model& m) const {
        if (owner_) guild::check::owned<Format>("weights", m, *owner_);
    }
    /// Of whom a tape is that a forward over these weights has filled.
    const void* identity() const { return owner_ ? static_cast<const void*>(owner_) : view_.router.data; }

private:
    const weights<Model, Format>* owner_ = nullptr;
    view view_{};
};

template <class Model, class Format, class Backend> class lender<Model, packed<Format>, Backend> {
public:
    using owner = packed_weights<Model, Format, Backend>;
    using view = typename owner::view;
    explicit lender(const owner& w) : owner_(&w) {}

    const view& lend() const { return owner_->lend(); }
    void check(const Model& m) const { owner_->check(m); }
    const void* identity() const { return owner_; }

private:
    const owner* owner_;
};

}  // namespace guild::inline v0::detail
