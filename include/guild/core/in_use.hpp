#pragma once
#include <guild/core/error.hpp>

#include <atomic>

namespace guild::inline v0::detail {

/// Whether a call works in the memory that this is a member of. It belongs to its place: a copy, or what is moved to, is free.
class in_use {
public:
    in_use() = default;
    in_use(const in_use&) noexcept {}
    in_use& operator=(const in_use&) noexcept { return *this; }

    /// Throws argument_error if a call works there now.
    void check(const char* what) const {
        if (taken_.load(std::memory_order_relaxed)) refuse(what);
    }
    /// A call that works there until its end. Throws argument_error if another one does.
    class call {
    public:
        call(in_use& place, const char* what) : place_(place) {
            if (place.taken_.exchange(true, std::memory_order_acquire)) refuse(what);
        }
        ~call() { place_.taken_.store(false, std::memory_order_release); }
        call(const call&) = delete;
        call& operator=(const call&) = delete;

    private:
        in_use& place_;
    };

private:
    [[noreturn]] static void refuse(const char* what) {
        raise<argument_error>("guild::layer: the ", what, " is in use by another call, expected one for each concurrent caller");
    }
    std::atomic<bool> taken_{false};
};

/// A flag that does not stay behind when its object is moved.
class moving_flag {
public:
    moving_flag() = default;
    moving_flag(const moving_flag&) = default;
    moving_flag& operator=(const moving_flag&) = default;
    moving_flag(moving_flag&& other) noexcept : set_(other.set_) { other.set_ = false; }
    moving_flag& operator=(moving_flag&& other) noexcept {
        const bool set = other.set_;
        other.set_ = false;
        set_ = set;
        return *this;
    }
    moving_flag& operator=(bool set) noexcept {
        set_ = set;
        return *this;
    }
    operator bool() const noexcept { return set_; }

private:
    bool set_ = false;
};

}  // namespace guild::inline v0::detail
