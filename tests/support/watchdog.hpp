#pragma once
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>

#include <unistd.h>

/// Included once by an executable whose faults could wait for ever: a test case that takes more than 20 seconds fails, by name.
struct watchdog : doctest::IReporter {
    explicit watchdog(const doctest::ContextOptions&) {
        std::signal(SIGALRM, [](int) {
            constexpr char text[] = "\nThis test case has not ended after 20 seconds: something waits for ever.\n";
            if (::write(STDERR_FILENO, text, sizeof text - 1) > 0) std::abort();  // which doctest reports with the test case's name
            std::_Exit(1);
        });
    }
    void test_case_start(const doctest::TestCaseData&) override { ::alarm(20); }
    void test_case_end(const doctest::CurrentTestCaseStats&) override { ::alarm(0); }
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("watchdog", 1, watchdog);
