#include <doctest/doctest.h>
#include <guild/parallel/thread_pool.hpp>
#include <support/child.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#ifdef GUILD_TEST_NO_FORK_AMONG_THREADS
TEST_CASE("thread_pool: fork") { MESSAGE("left out: sanitizers cannot follow a process that was forked among threads"); }
#else
namespace {
constexpr std::array thread_counts{1, 2, 3, 4, 6, 8};

/// The bits of a sum that depend on the ranges, one partial sum each, and the threads that took part.
struct summed {
    std::uint32_t bits = 0;
    bool alone = true;
    bool operator==(const summed&) const = default;
};
template <class Executor> summed sum(const Executor& executor, long n = 5000) {
    std::vector<float> part(static_cast<std::size_t>(n), 0.0F);
    std::atomic<bool> alone{true};
    const auto caller = std::this_thread::get_id();
    executor.run(n, [&](long begin, long end) {
        for (long i = begin; i < end; ++i) part[static_cast<std::size_t>(begin)] += 1.0F / static_cast<float>(i + 1);
        if (std::this_thread::get_id() != caller) alone = false;
    });
    return {std::bit_cast<std::uint32_t>(std::accumulate(part.begin(), part.end(), 0.0F)), alone};
}
const summed by_serial = sum(guild::serial{});
/// Whether the pool gives the bits of serial, and all of them on the caller, for every number of ranges up to 70.
bool calls_all(const guild::thread_pool& pool) {
    bool right = sum(pool) == by_serial;
    for (long n = 0; n < 70; ++n) right = right && sum(pool, n) == sum(guild::serial{}, n) && sum(guild::threads{pool}, n) == sum(guild::serial{}, n);
    return right;
}
std::string verdict(bool right) { return right ? "right" : "wrong"; }
/// Ends the child with its static objects, as main does, after a word that tells it from one that returned.
[[noreturn]] void leave_by_exit(int to, const std::string& text) {
    if (::write(to, text.data(), text.size()) < 0) ::_exit(98);
    std::exit(0);
}
/// A pool with the threads of its constructor busy in a run of another thread, until it is told to go on.
struct busy_pool {
    explicit busy_pool(int threads)
        : pool(threads), runner([this, threads] {
              pool.run(threads, [this](long, long) {
                  ++inside;
                  for (int ms = 0; ms < 15'000 && !go_on; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
              });
          }) {
        while (inside < 1) std::this_thread::yield();
    }
    ~busy_pool() {
        go_on = true;
        runner.join();
    }
    std::atomic<int> inside{0};
    std::atomic<bool> go_on{false};
    guild::thread_pool pool;
    std::thread runner;
};
}  // namespace

TEST_CASE("fork: a pool is destroyed in the child, after a run, without one, and after a run in the child") {
    for (const int threads : thread_counts)
        for (const bool before : {false, true})
            for (const bool after : {false, true}) {
                CAPTURE(threads);
                auto pool = std::make_unique<guild::thread_pool>(threads);
                if (before) sum(*pool);
                CHECK(of_a_child([&](int) {
                          const bool right = !after || calls_all(*pool);
                          pool.reset();
                          return verdict(right);
                      }) == "right");
                CHECK(sum(*pool).bits == by_serial.bits);  // the parent's is as it was
            }
}

TEST_CASE("fork: static pools at exit, of the parent after forks and of the children") {
    for (const int threads : thread_counts) {
        CAPTURE(threads);
        CHECK(of_a_child([&](int to) -> std::string {  // a program of its own
                  static guild::thread_pool pool(threads), unused(threads);
                  std::string text = verdict(sum(pool).bits == by_serial.bits);
                  for (int child = 0; child < 3; ++child)
                      text += " " + of_a_child([&](int its) -> std::string { leave_by_exit(its, verdict(child == 0 || calls_all(pool))); });
                  leave_by_exit(to, text + " " + verdict(sum(pool).bits == by_serial.bits));
              }) == "right right right right right");
    }
}

TEST_CASE("thread_pool: exit() ends the process inside a run, on the caller and on a worker, and beside one") {
    enum { caller, worker, other };
    for (const int threads : {2, 4, 8})
        for (const auto by : {caller, worker, other}) {
            CAPTURE(threads);
            CAPTURE(by);
            CHECK(of_a_child([&](int to) -> std::string {
                      static guild::thread_pool pool(threads);
                      static std::atomic<int> inside{0};
                      static std::atomic<bool> taken{false};
                      const auto self = std::this_thread::get_id();
                      std::thread beside([&] {
                          while (inside < threads) std::this_thread::yield();
                          if (by == other) leave_by_exit(to, "exit");
                      });
                      pool.run(threads, [&](long, long) {
                          ++inside;
                          while (inside < threads) std::this_thread::yield();
                          if (by == (std::this_thread::get_id() == self ? caller : worker) && !taken.exchange(true)) leave_by_exit(to, "exit");
                          std::this_thread::sleep_for(std::chrono::milliseconds(2));
                      });
                      beside.join();
                      std::this_thread::sleep_for(std::chrono::seconds(1));
                      return ", which did not end it";
                  }) == "exit");
        }
}

TEST_CASE("fork: the child computes on with its parent's pool, while another thread of the parent is in a run too") {
    for (const int threads : thread_counts) {
        CAPTURE(threads);
        const busy_pool busy(threads);
        CHECK(of_a_child([&](int) { return verdict(calls_all(busy.pool) && calls_all(busy.pool)); }) == "right");
        CHECK(of_a_child([&](int) {
                  busy.pool.~thread_pool();
                  return std::string("ended");
              }) == "ended");
    }
}

TEST_CASE("fork: threads of the child may use its parent's pool at once, and exceptions reach them") {
    const guild::thread_pool pool(4);
    sum(pool);
    CHECK(of_a_child([&](int) {
              std::atomic<int> wrong{0};
              std::vector<std::thread> callers;
              for (int caller = 0; caller < 4; ++caller)
                  callers.emplace_back([&] {
                      for (int repeat = 0; repeat < 50; ++repeat) wrong += sum(pool) == by_serial ? 0 : 1;
                      try {
                          pool.run(70, [](long begin, long) { throw begin; });
                          ++wrong;
                      } catch (const long begin) { wrong += begin == 0 ? 0 : 1; }
                  });
              for (std::thread& caller : callers) caller.join();
              return verdict(wrong == 0);
          }) == "right");
}

TEST_CASE("fork: while other threads make, use and end pools and memory, fifty times") {
    std::atomic<bool> enough{false};
    std::vector<std::thread> others;
    const guild::thread_pool shared(3);
    for (int other = 0; other < 3; ++other)
        others.emplace_back([&, other] {
            while (!enough) {
                if (other == 0) sum(guild::thread_pool(3));
                else sum(shared);
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
        });
    for (int repeat = 0; repeat < 50; ++repeat)
        CHECK(of_a_child([&](int) { return verdict(calls_all(shared) && sum(guild::thread_pool(2 + repeat % 7)).bits == by_serial.bits); }) ==
              "right");
    enough = true;
    for (std::thread& other : others) other.join();
}

TEST_CASE("fork: a pool that the child makes has workers of its own, beside its parent's, and its children's again") {
    const guild::thread_pool pool(3);
    sum(pool);
    const auto descend = [&](const auto& self, int depth) -> std::string {
        const guild::thread_pool own(3);
        std::atomic<int> inside{0}, met{0};  // each of three shares waits for the others: three threads
        own.run(3, [&](long, long) {
            ++inside;
            for (int ms = 0; ms < 3000 && inside < 3; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            met += inside == 3 ? 1 : 0;
        });
        if (met != 3 || sum(own).bits != by_serial.bits || (depth > 0 && !calls_all(pool))) return "wrong at " + std::to_string(depth);
        if (depth == 5) return "right";
        return of_a_child([&](int) { return calls_all(own) ? self(self, depth + 1) : "its parent's at " + std::to_string(depth); });
    };
    CHECK(descend(descend, 0) == "right");
}

TEST_CASE("fork: many children, one after the other and at once") {
    const guild::thread_pool pool(4);
    for (int child = 0; child < 100; ++child) CHECK(of_a_child([&](int) { return verdict(sum(pool) == by_serial); }) == "right");
    std::vector<std::string> said(8);
    std::vector<std::thread> parents;
    for (std::string& text : said) parents.emplace_back([&] { text = of_a_child([&](int) { return verdict(sum(pool) == by_serial); }); });
    for (std::thread& parent : parents) parent.join();
    CHECK(said == std::vector<std::string>(8, "right"));
}

TEST_CASE("fork: inside a run, on the caller the child's run says so, a nested one is whole, and on a worker the child is ended") {
    for (const int threads : {2, 4, 8}) {
        CAPTURE(threads);
        const guild::thread_pool pool(threads);
        const auto caller = std::this_thread::get_id();
        std::string nested;
        std::atomic<int> inside{0};
        pool.run(threads, [&](long, long) {
            ++inside;
            for (int ms = 0; ms < 15'000 && inside < threads; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (std::this_thread::get_id() == caller) nested = of_a_child([&](int) { return verdict(calls_all(pool)); });
        });
        CHECK(nested == "right");

        // A child that returns from f: it is forked by hand, and reports by how its process ends.
        for (const bool by_caller : {true, false}) {
            CAPTURE(by_caller);
            CHECK(of_a_child([&](int to) -> std::string {
                      const guild::thread_pool own(threads);
                      const auto first = std::this_thread::get_id();
                      std::atomic<int> here{0};
                      std::atomic<bool> once{false};
                      ::pid_t child = -1;
                      std::string text;
                      try {
                          own.run(threads, [&](long, long) {
                              ++here;
                              for (int ms = 0; ms < 15'000 && here < threads; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                              if ((std::this_thread::get_id() == first) == by_caller && !once.exchange(true)) {
                                  child = ::fork();
                                  if (child == 0) {
                                      ::alarm(10);
                                      ::close(STDERR_FILENO);  // what() of the exception that ends it
                                  }
                              }
                          });
                      } catch (const guild::error& e) {
                          const std::string what = e.what();
                          if (::write(to, what.data(), what.size()) < 0) ::_exit(98);
                          ::_exit(0);
                      }
                      int status = 0;
                      ::waitpid(child, &status, 0);
                      return WIFSIGNALED(status) ? "; signal " + std::to_string(WTERMSIG(status)) : "; exit " + std::to_string(WEXITSTATUS(status));
                  }) == (by_caller
                             ? "guild::thread_pool: the process was forked inside a run, whose other threads are not in the child, expected exec or "
                               "_exit there; exit 0"
                             : "; signal " + std::to_string(SIGABRT)));
        }
    }
}

TEST_CASE("thread_pool: used by threads that end, made by one that has ended") {
    std::unique_ptr<guild::thread_pool> pool;
    for (const int threads : thread_counts) {
        CAPTURE(threads);
        std::thread([&] {
            pool = std::make_unique<guild::thread_pool>(threads);
            sum(*pool);
        }).join();
        for (int user = 0; user < 20; ++user) std::thread([&] { CHECK(sum(*pool).bits == by_serial.bits); }).join();
        CHECK(sum(*pool).bits == by_serial.bits);
        CHECK(of_a_child([&](int) { return verdict(calls_all(*pool)); }) == "right");
        std::thread([&] { pool.reset(); }).join();
    }
}

TEST_CASE("thread_pool: used while a thread's own objects end, and while the program's do") {
    struct last_words {
        const guild::thread_pool* pool = nullptr;
        std::atomic<int>* right = nullptr;
        ~last_words() { *right += sum(*pool).bits == by_serial.bits ? 1 : 0; }
    };
    const guild::thread_pool pool(4);
    std::atomic<int> right{0};
    for (int repeat = 0; repeat < 10; ++repeat)
        std::thread([&] {
            thread_local last_words words;
            words.pool = &pool;
            words.right = &right;
        }).join();
    CHECK(right == 10);
    CHECK(of_a_child([](int to) -> std::string {
              struct at_exit {
                  int to;
                  const guild::thread_pool* pool;
                  ~at_exit() {
                      const std::string text = verdict(sum(*pool).bits == by_serial.bits);
                      if (::write(to, text.data(), text.size()) < 0) ::_exit(98);
                  }
              };
              static guild::thread_pool its(4);
              static at_exit words{to, &its};
              std::exit(0);
          }) == "right");
}

#if defined(__linux__)
TEST_CASE("fork: the child's own processors stay as they are, whatever its parent's pool would have moved") {
    const std::vector<int> all = guild::detail::processors();
    if (all.size() < 2) {
        MESSAGE("left out: this machine has one processor");
        return;
    }
    for (const guild::pinning where : {guild::pinning::none, guild::pinning::own_processor}) {
        const guild::thread_pool pool(2, where);
        std::string moved;
        for (int repeat = 0; repeat < 30; ++repeat) {
            pool.run(2, [](long begin, long) {  // the worker has run, and sleeps
                if (begin == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
            });
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            moved = of_a_child([&](int) -> std::string {
                for (const int p : all) {  // on each processor, so on one where a worker last was
                    cpu_set_t mask;
                    CPU_ZERO(&mask);
                    CPU_SET(static_cast<std::size_t>(p), &mask);
                    if (sched_setaffinity(0, sizeof mask, &mask) != 0) return "no affinity";
                    if (!calls_all(pool)) return "wrong";
                    if (guild::detail::processors() != std::vector<int>{p}) return "moved";
                }
                return "stayed";
            });
            if (moved != "stayed") break;
        }
        CHECK(moved == "stayed");
    }
}

TEST_CASE("fork: the child pins workers of a pool of its own") {
    const std::vector<int> all = guild::detail::processors();
    const int threads = static_cast<int>(all.size() < 8 ? all.size() : 8);
    const guild::thread_pool parents(threads, guild::pinning::own_processor);
    sum(parents);
    CHECK(of_a_child([&](int) -> std::string {
              const guild::thread_pool own(threads, guild::pinning::own_processor);
              for (int repeat = 0; repeat < 20; ++repeat)
                  if (sum(own).bits != by_serial.bits || !calls_all(parents)) return "wrong";
              bool pinned = true;
              for (int repeat = 0; repeat < 200; ++repeat)
                  own.run(threads, [&](long t, long) {
                      const std::vector<int> mine = guild::detail::processors();
                      if (mine != all && mine != std::vector<int>{all[static_cast<std::size_t>(t)]}) pinned = false;
                  });
              return verdict(pinned && guild::detail::processors() == all);
          }) == "right");
}
#endif
#endif
