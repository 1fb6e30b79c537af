/*
 * check.h
 *	  Counting checks: failures are printed, and a last line says "NAME: N passed, M failed".
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	checks_passed;
static int	checks_failed;

/* Count a condition; returns it, so that a test can leave off what depends on it. */
__attribute__((format(printf, 4, 5)))
static inline bool
check_condition(bool condition, const char *file, int line, const char *name, ...)
{
	va_list		arguments;

	if (condition)
	{
		checks_passed++;
		return true;
	}
	checks_failed++;
	printf("FAILED %s:%d: ", file, line);
	va_start(arguments, name);
	vprintf(name, arguments);
	va_end(arguments);
	putchar('\n');
	return false;
}

/* CHECK(condition, "what holds", ...) */
#define CHECK(condition, ...) check_condition(condition, __FILE__, __LINE__, __VA_ARGS__)

/* Print the last line; returns the program's exit status. */
static inline int
check_done(const char *name)
{
	printf("%s: %d passed, %d failed\n", name, checks_passed, checks_failed);
	return checks_failed ? 1 : 0;
}

#endif							/* CHECK_H */
