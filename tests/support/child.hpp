#pragma once
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

// Of a process that was forked among threads, the sanitizer of threads ends the one that starts a thread, and that of addresses has a malloc that
// another thread may have locked.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define GUILD_TEST_NO_FORK_AMONG_THREADS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define GUILD_TEST_NO_FORK_AMONG_THREADS
#endif
#endif

/// What a process that was forked to call f came to: the text that f returned, "error: ..." with the text of what it threw, or "signal 11
/// (Segmentation fault)", "exit 3" of a process that ended without. A child that has not ended after so many seconds is ended by SIGALRM.
/// Where f calls exit(), what it says before goes to the file descriptor that it is given.
template <class F> std::string of_a_child(F&& f, unsigned seconds = 20) {
    int ends[2];
    std::fflush(nullptr);
    if (::pipe(ends) != 0) return "no pipe";
    const ::pid_t child = ::fork();
    if (child < 0) return "no child";
    const auto say = [&](const std::string& text) { return ::write(ends[1], text.data(), text.size()) == static_cast<::ssize_t>(text.size()); };
    if (child == 0) {
        for (const int s : {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM}) std::signal(s, SIG_DFL);
        ::alarm(seconds);
        ::close(ends[0]);
        bool said = false;
        try {
            said = say(f(ends[1]));
        } catch (const std::exception& e) { said = say(std::string("error: ") + e.what()); }
        ::_exit(said ? 0 : 99);
    }
    ::close(ends[1]);
    std::string text;
    char piece[256];
    for (::ssize_t n; (n = ::read(ends[0], piece, sizeof piece)) > 0;) text.append(piece, static_cast<std::size_t>(n));
    ::close(ends[0]);
    int status = 0;
    if (::waitpid(child, &status, 0) != child) return "lost";
    if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
    return WEXITSTATUS(status) == 0 ? text : "exit " + std::to_string(WEXITSTATUS(status));
}
