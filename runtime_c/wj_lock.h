/* Locks of what there are many of. In a child of a fork, one that another thread held is free. */
#ifndef WJ_LOCK_H
#define WJ_LOCK_H

#include "wj_base.h"

typedef struct {
    pthread_mutex_t mutex;
    uint32_t fork_generation; /* atomic: of the process that uses the mutex */
} wj_lock;

/* 0 or an errno value. */
WJ_INTERNAL int wj_lock_init(wj_lock *lock);
WJ_INTERNAL void wj_lock_take(wj_lock *lock);
WJ_INTERNAL void wj_lock_give(wj_lock *lock);
WJ_INTERNAL void wj_lock_destroy(wj_lock *lock);
WJ_INTERNAL void wj_locks_after_fork_in_child(void);

#endif
