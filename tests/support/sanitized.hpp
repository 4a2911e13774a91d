#pragma once

/// 1 where a sanitizer watches memory or threads: frames are larger then, and malloc is its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GUILD_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GUILD_TEST_SANITIZED 1
#endif
#endif
#ifndef GUILD_TEST_SANITIZED
#define GUILD_TEST_SANITIZED 0
#endif
