/*
 * plain_host.h
 *	  A host for programs that call the core: memory of malloc, never interrupted.
 */
#ifndef PLAIN_HOST_H
#define PLAIN_HOST_H

#include <stdbool.h>
#include <stdlib.h>

static void *
plain_alloc(void *arg, size_t size)
{
	(void) arg;
	return malloc(size);
}

static void
plain_release(void *arg, void *pointer)
{
	(void) arg;
	free(pointer);
}

static bool
plain_interrupted(void *arg)
{
	(void) arg;
	return false;
}

#define PLAIN_HOST {plain_alloc, plain_release, plain_interrupted, NULL}

#endif							/* PLAIN_HOST_H */
