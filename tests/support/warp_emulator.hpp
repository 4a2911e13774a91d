#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define TEST_FIBERS_UNDER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_FIBERS_UNDER_ASAN
#endif
#endif
#ifdef TEST_FIBERS_UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

/// One warp on the CPU: 32 lanes as fibers of one thread. A lane runs until it shuffles; when all have shuffled they exchange and go
/// on, in an order that is shuffled anew every time. Not for ThreadSanitizer, which takes fibers for threads.
///     warp_emulator{seed}.run([&](const warp_emulator::thread& thread) { ... });
class warp_emulator {
public:
    static constexpr unsigned lanes = 32;

    /// One lane, as warp_lanes wants it.
    class thread {
    public:
        unsigned lane() const { return lane_; }
        template <class T> T shfl(T v, unsigned from) const { return warp_->exchange(lane_, v, from, 'i'); }
        template <class T> T shfl_xor(T v, unsigned mask) const { return warp_->exchange(lane_, v, lane_ ^ mask, 'x'); }

    private:
        friend class warp_emulator;
        thread(warp_emulator* w, unsigned l) : warp_(w), lane_(l) {}
        warp_emulator* warp_;
        unsigned lane_;
    };

    explicit warp_emulator(unsigned seed = 1) : random_(seed) {
        for (unsigned l = 0; l < lanes; ++l) order_[l] = l;
        for (fiber& f : fiber_) f.stack.reset(new std::byte[stack_bytes]);
    }
    warp_emulator(const warp_emulator&) = delete;
    warp_emulator& operator=(const warp_emulator&) = delete;

    /// body(thread) on 32 lanes. What a lane throws arrives here. Throws std::logic_error if a lane ends, or meets another shuffle,
    /// while others wait: on a device that is a deadlock or nonsense. Either way every lane is unwound first.
    template <class Body> void run(const Body& body) {
        body_ = [&](unsigned lane) { body(thread(this, lane)); };
        failure_ = nullptr;
        for (unsigned l = 0; l < lanes; ++l) start(l);
        for (;;) {
            std::shuffle(order_.begin(), order_.end(), random_);
            for (const unsigned l : order_)
                if (!fiber_[l].done) resume(l);
            const long done = std::count_if(fiber_.begin(), fiber_.end(), [](const fiber& f) { return f.done; });
            if (done == lanes) break;
            if (!failure_) failure_ = disagreement(done);
        }
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    static constexpr std::size_t stack_bytes = 192 * 1024;  // beyond 256 KiB, AddressSanitizer maps memory at every change of stack
    struct cancelled {};
    struct shuffle {
        long number = 0;  ///< how many this lane has met
        char kind = 0;
        std::size_t bytes = 0;
        bool operator==(const shuffle&) const = default;
    };
    struct fiber {
        ucontext_t context{};
        std::unique_ptr<std::byte[]> stack;
        shuffle at;
        bool done = false;
        std::byte out[2][16];  ///< what it offers: two of them, so that nobody overwrites what another has yet to read
        void* fake_stack = nullptr;
    };

    template <class T> T exchange(unsigned lane, T v, unsigned from, char kind) {
        static_assert(sizeof(T) <= sizeof(fiber::out[0]) && std::is_trivially_copyable_v<T>);
        fiber& own = fiber_[lane];
        own.at = {own.at.number + 1, kind, sizeof(T)};
        const long half = own.at.number % 2;
        std::memcpy(own.out[half], &v, sizeof v);
        pause(own);
        if (failure_) throw cancelled{};
        std::memcpy(&v, fiber_[from % lanes].out[half], sizeof v);
        return v;
    }
    std::exception_ptr disagreement(long done) const {
        std::string text;
        const auto waits = [](const fiber& f) { return !f.done; };
        const fiber& first = *std::find_if(fiber_.begin(), fiber_.end(), waits);
        if (done > 0)
            text = "lane " + std::to_string(&first - fiber_.data()) + " waits at a shuffle that " + std::to_string(done) + " lanes never reach";
        else
            for (const fiber& f : fiber_)
                if (!(f.at == first.at)) text = "lanes 0 and " + std::to_string(&f - fiber_.data()) + " meet at different shuffles";
        return text.empty() ? nullptr : std::make_exception_ptr(std::logic_error("warp_emulator: " + text));
    }

    void start(unsigned lane) {
        fiber& f = fiber_[lane];
        f.done = false;
        f.at = {};
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = stack_bytes;
        f.context.uc_link = nullptr;
        const auto self = reinterpret_cast<std::size_t>(this);  // makecontext hands over ints alone
        makecontext(&f.context, reinterpret_cast<void (*)()>(&entry), 3, static_cast<unsigned>(self >> 32), static_cast<unsigned>(self), lane);
    }
    static void entry(unsigned high, unsigned low, unsigned lane) {
        auto* const warp = reinterpret_cast<warp_emulator*>(static_cast<std::size_t>(high) << 32 | low);
        warp->arrived(nullptr);
        try {
            warp->body_(lane);
        } catch (const cancelled&) {
        } catch (...) {
            if (!warp->failure_) warp->failure_ = std::current_exception();
        }
        warp->fiber_[lane].done = true;
        warp->leave(nullptr);
        setcontext(&warp->main_);
    }
    void resume(unsigned lane) {
        fiber& f = fiber_[lane];
        void* fake = nullptr;
        announce(&fake, f.stack.get(), stack_bytes);
        swapcontext(&main_, &f.context);
        finish(fake, nullptr, nullptr);
    }
    void pause(fiber& f) {
        leave(&f.fake_stack);
        swapcontext(&f.context, &main_);
        arrived(f.fake_stack);
    }

    // AddressSanitizer is told of every change of stack; it reports where the main one lies when a fiber arrives.
    void leave(void** fake) { announce(fake, main_stack_, main_bytes_); }
    void arrived(void* fake) { finish(fake, &main_stack_, &main_bytes_); }
#ifdef TEST_FIBERS_UNDER_ASAN
    static void announce(void** fake, const void* stack, std::size_t bytes) { __sanitizer_start_switch_fiber(fake, stack, bytes); }
    static void finish(void* fake, const void** stack, std::size_t* bytes) { __sanitizer_finish_switch_fiber(fake, stack, bytes); }
#else
    static void announce(void**, const void*, std::size_t) {}
    static void finish(void*, const void**, std::size_t*) {}
#endif

    std::mt19937 random_;
    std::array<unsigned, lanes> order_;
    std::array<fiber, lanes> fiber_;
    std::function<void(unsigned)> body_;
    std::exception_ptr failure_;
    ucontext_t main_{};
    const void* main_stack_ = nullptr;
    std::size_t main_bytes_ = 0;
};
