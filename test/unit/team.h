/*
 * team.h
 *	  A barrier for teams whose processes are played by threads.
 */
#ifndef TEAM_H
#define TEAM_H

#include <pthread.h>
#include <stdbool.h>

typedef struct TestBarrier
{
	pthread_mutex_t mutex;
	pthread_cond_t all_here;
	int			size;
	int			waiting;
	unsigned	generation;
	bool		broken;
} TestBarrier;

#define TEST_BARRIER(members) \
	{PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, (members), 0, 0, false}

/* Wait for the others, as LatTeam.wait; false once somebody has broken it. */
static inline bool
test_wait(void *arg)
{
	TestBarrier *barrier = arg;
	unsigned	generation;
	bool		whole;

	pthread_mutex_lock(&barrier->mutex);
	generation = barrier->generation;
	if (++barrier->waiting == barrier->size)
	{
		barrier->waiting = 0;
		barrier->generation++;
		pthread_cond_broadcast(&barrier->all_here);
	}
	while (generation == barrier->generation && !barrier->broken)
		pthread_cond_wait(&barrier->all_here, &barrier->mutex);
	whole = !barrier->broken;
	pthread_mutex_unlock(&barrier->mutex);
	return whole;
}

/* Let all go who wait, now and later. */
static inline void
test_break(TestBarrier *barrier)
{
	pthread_mutex_lock(&barrier->mutex);
	barrier->broken = true;
	pthread_cond_broadcast(&barrier->all_here);
	pthread_mutex_unlock(&barrier->mutex);
}

#endif							/* TEAM_H */
