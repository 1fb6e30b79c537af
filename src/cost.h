/*
 * cost.h
 *	  What the planner is told of scoring calls.
 */
#ifndef LAT_COST_H
#define LAT_COST_H

/* Hook into the planner; called once, when the module is loaded. */
extern void cost_init(void);

#endif							/* LAT_COST_H */
