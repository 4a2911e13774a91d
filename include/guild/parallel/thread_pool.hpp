#pragma once
#include <guild/core/error.hpp>
#include <guild/parallel/fork.hpp>
#include <guild/parallel/pinning.hpp>
#include <guild/parallel/serial.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace guild::inline v0 {

/// A fixed number of threads, of which the caller of `run` is one. The share of thread t of N are the ranges [C t / N, C (t + 1) / N) of the
/// C = min(n, 64) ranges of `serial`, called in ascending order. The share of a worker that has begun none of it when the caller has done his own,
/// because it sleeps or others have its processor, is the caller's too. Which ranges there are depends on n alone.
///
/// `run` may be called from several threads at once and from inside f: while one run holds the threads, every other one
/// calls all its ranges on its own caller, in ascending order, and so never waits for the first.
/// When f throws, the rest of that share is skipped, the others are finished, and the exception of the lowest
/// range is rethrown on the caller; whatever the timing, it is the same one that `serial` throws.
/// What f wrote is visible to the caller when run returns. No allocation after construction. Threads that wait spin for
/// some 10 microseconds, not at all where they outnumber their processors, then sleep. A worker that sleeps on a processor which another
/// thread of the run is on is moved before it is woken, and after the run may use what the constructing thread might (Linux).
///
/// A process that was forked has no workers: there a pool of its parent, busy or not when the fork came, calls all ranges on the caller, with the
/// same bits, and ends without waiting; one that is constructed there has workers. A child that was forked inside f has lost the shares of the other
/// threads: it should exec or _exit; if it returns from f instead, `run` throws error on its caller, and on a worker the process is terminated.
class thread_pool {
public:
    /// Starts threads - 1 workers. With pinning::own_processor worker t runs on processor t of those, counted from 0 in ascending
    /// order, that the constructing thread may use; number 0 is left to the caller of `run`, which is never moved.
    /// Throws argument_error if threads < 1 or there is no processor for each, error if the system refuses a thread or a processor.
    explicit thread_pool(int threads, pinning where = pinning::none) {
        if (threads < 1) detail::raise<argument_error>("guild::thread_pool: threads is ", threads, ", expected at least 1");
        const std::vector<int> own = detail::processors();
        const bool enough = static_cast<std::size_t>(threads) <= own.size();
        if (where == pinning::own_processor && !enough)
            detail::raise<argument_error>("guild::thread_pool: threads is ", threads, ", expected at most ", own.size(), ", a processor for each");
        spins_ = enough ? 500 : 0;
        moves_ = enough && where == pinning::none;
        forks_ = detail::forks_so_far();
        auto made = std::make_unique<crew>(static_cast<std::size_t>(threads - 1));
        crew_ = made.get();
        if (moves_) made->own = made->free = detail::processor_set(own);
        int started = 1;
        const auto failure = detail::thrown_by([&] {
            for (worker& w : made->workers) {
                w.thread = std::thread([this, &w, started] { serve(w, started); });
                if (where == pinning::own_processor) detail::pin(w.thread, own[static_cast<std::size_t>(started)]);
                ++started;
            }
        });
        if (failure) {
            stop();
            detail::rethrow<std::system_error>(failure, [&](const auto& e) {
                detail::raise<error>("guild::thread_pool: the system gave ", started, " threads, expected ", threads, " (", e.what(), ")");
            });
        }
        static_cast<void>(made.release());
    }
    /// A run that is interrupted by exit(), inside f or in another thread, goes on until the process ends; a static pool waits for none of its threads.
    ~thread_pool() {
        if (!here()) {  // handles of threads that are not there are dropped: neither joined nor detached
            for (worker& w : crew_->workers) ::new (static_cast<void*>(&w.thread)) std::thread;
        } else if (busy_.load(std::memory_order_acquire)) return;
        else stop();
        delete crew_;
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    /// N, the caller of `run` included.
    int size() const { return static_cast<int>(crew_->workers.size()) + 1; }

    /// Calls f(begin, end) on disjoint, non-empty ranges that cover [0, n), from several threads at once. For n < 1 nothing.
    template <class F> void run(long n, F&& f) const {
        const long ranges = detail::range_count(n);
        const long parts = ranges < size() ? ranges : size();
        if (parts < 2 || !here() || busy_.exchange(true, std::memory_order_acquire)) return detail::run_ranges(n, 0, ranges, f);
        auto part = [&f, n, ranges, parts](long p) { detail::run_ranges(n, ranges * p / parts, ranges * (p + 1) / parts, f); };
        const auto call = [](void* self, long p) { (*static_cast<decltype(part)*>(self))(p); };
        run_parts(parts, call, &part);
    }

private:
    enum : int { idle, ready, working, leave };
    struct alignas(64) worker {
        std::atomic<int> state{idle};
        std::exception_ptr failure;
        std::atomic<int> processor{-1};  ///< where it last was
        bool moved = false;
        std::thread thread;
    };
    /// What threads look at while they run, in one place that can outlive the pool.
    struct crew {
        explicit crew(std::size_t size) : workers(size) {}
        std::vector<worker> workers;
        detail::processor_set own;   ///< of the constructing thread
        detail::processor_set free;  ///< scratch
    };

    /// Calls call(self, p) for p < parts, p = 0 here and the others on one worker each. Called by the run that holds busy_.
    void run_parts(long parts, void (*call)(void*, long), void* self) const {
        const auto team = static_cast<std::size_t>(parts - 1);
        auto& workers = crew_->workers;
        call_ = call;
        self_ = self;
        pending_.store(static_cast<int>(parts - 1), std::memory_order_relaxed);
        const bool moved = moves_ && part_company(team);
        for (std::size_t i = 0; i < team; ++i) {
            workers[i].state.store(ready);
            workers[i].state.notify_one();
        }
        std::exception_ptr failure = attempt(0);
        for (std::size_t i = team; i-- > 0;)
            if (claim(workers[i], idle)) {
                workers[i].failure = attempt(static_cast<long>(i) + 1);
                pending_.fetch_sub(1);
            }
        if (!here()) lost();
        for (int left = await_change(pending_, -1); left != 0;) left = await_change(pending_, left);
        for (std::size_t i = 0; i < team; ++i) {
            std::exception_ptr later = std::exchange(workers[i].failure, nullptr);
            if (!failure) failure = (std::move)(later);
            if (moved && std::exchange(workers[i].moved, false)) crew_->own.keep(workers[i].thread);
        }
        busy_.store(false, std::memory_order_release);
        if (failure) std::rethrow_exception((std::move)(failure));
    }
    /// Moves sleeping workers off the processors that the caller and other workers are on, and says whether it did. On its own the system may
    /// leave a worker to wait there for milliseconds: Linux looks for an idle processor only where few have been busy of late.
    bool part_company(std::size_t team) const {
        bool moved = false;
        auto& [workers, own, free] = *crew_;
        free = own;
        free.remove(detail::current_processor());
        for (std::size_t i = 0; i < team; ++i) {
            worker& w = workers[i];
            const int there = w.processor.load(std::memory_order_relaxed);
            if (there < 0) continue;
            w.moved = !free.has(there);
            moved |= w.moved;
            free.remove(there);
        }
        if (!moved || free.empty()) return false;
        for (std::size_t i = 0; i < team; ++i)
            if (workers[i].moved) free.keep(workers[i].thread);
        return true;
    }
    std::exception_ptr attempt(long part) const {
        return detail::thrown_by([&] { call_(self_, part); });
    }
    /// Whether the part that w was given is left to whoever asks: to the first one.
    static bool claim(worker& w, int then) {
        int found = ready;
        return w.state.compare_exchange_strong(found, then);
    }
    /// The life of a worker: every part that it claims is answered by one decrement of pending_, and by nothing after it but a wake-up.
    void serve(worker& w, long part) const {
        while (await_change(w.state, idle) != leave) {
            const bool own = claim(w, working);
            if (own) w.failure = attempt(part);
            w.processor.store(detail::current_processor(), std::memory_order_relaxed);
            if (!own) continue;
            if (!here()) lost();
            w.state.store(idle, std::memory_order_relaxed);
            if (pending_.fetch_sub(1) == 1) pending_.notify_one();
        }
    }
    /// Whether the workers are in this process.
    bool here() const { return detail::forks.load(std::memory_order_relaxed) == forks_; }
    [[noreturn]] static void lost() {
        detail::raise<error>("guild::thread_pool: the process was forked inside a run, whose other threads are not in the child, ",
                             "expected exec or _exit there");
    }
    void stop() {
        for (worker& w : crew_->workers) {
            w.state.store(leave);
            w.state.notify_one();
            if (w.thread.joinable()) w.thread.join();
        }
    }
    /// The first value found that is not `old`.
    int await_change(const std::atomic<int>& value, int old) const {
        for (int spin = 0;; ++spin) {
            if (const int found = value.load(std::memory_order_acquire); found != old) return found;
            if (spin < spins_) pause();
            else value.wait(old, std::memory_order_acquire);
        }
    }
    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }

    crew* crew_ = nullptr;
    long forks_ = 0;
    int spins_ = 0;  ///< none where the threads outnumber the processors that they may use
    bool moves_ = false;
    mutable std::atomic<bool> busy_{false};
    mutable std::atomic<int> pending_{0};  ///< shares that nobody has finished, but the caller's first
    mutable void (*call_)(void*, long) = nullptr;
    mutable void* self_ = nullptr;
};

/// A copyable handle of a pool, which must outlive it: the executor to give to a backend.
struct threads {
    /// Borrows the pool, which must outlive it.
    threads(const thread_pool& pool) : pool_(&pool) {}
    threads(const thread_pool&&) = delete;
    /// Of the pool.
    int size() const { return pool_->size(); }
    /// f on disjoint ranges that cover [0, n), on the pool's threads.
    template <class F> void run(long n, F&& f) const { pool_->run(n, f); }

private:
    const thread_pool* pool_;
};

}  // namespace guild::inline v0
