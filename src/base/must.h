/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit must is the vocabulary of assertions. must() and never() stay on in production: use them
 * where they are cheap. expect_dbg() is compiled only into debug and test builds. */
#ifndef BASE_MUST_H
#define BASE_MUST_H

/** Prints what failed and where to stderr and aborts. */
_Noreturn void must_failed(const char *what, const char *file, int line);

#define must(cond) ((cond) ? (void)0 : must_failed("must(" #cond ")", __FILE__, __LINE__))
#define never(why) must_failed("never: " why, __FILE__, __LINE__)

#ifdef CASHEW_DEBUG
#define expect_dbg(cond) must(cond)
#else
#define expect_dbg(cond) ((void)0)
#endif

/** The caller may not ignore the result. */
#define must_check __attribute__((warn_unused_result))

/** Seldom run: kept apart, so that what is run for every request stays short. */
#define slow_path __attribute__((noinline, cold))

/** The struct that embeds `member` at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
