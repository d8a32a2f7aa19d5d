/* Memories and stores are too many for a fork to wait for all of their locks, and threads of the parent may have held some.
 * What such a thread was about is half done in the child: sizes and counts, each of which is stored at once. */
#include "wj_lock.h"
#include "wj_thread.h"

static pthread_mutex_t renewal = PTHREAD_MUTEX_INITIALIZER;

void wj_locks_after_fork_in_child(void)
{
    renewal = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

int wj_lock_init(wj_lock *lock)
{
    lock->fork_generation = wj_fork_generation;
    return pthread_mutex_init(&lock->mutex, NULL);
}

static bool is_of_parent(const wj_lock *lock)
{
    return __atomic_load_n(&lock->fork_generation, __ATOMIC_ACQUIRE) != wj_fork_generation;
}

static void renew(wj_lock *lock)
{
    pthread_mutex_lock(&renewal);
    if (is_of_parent(lock)) { /* still */
        lock->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        __atomic_store_n(&lock->fork_generation, wj_fork_generation, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&renewal);
}

void wj_lock_take(wj_lock *lock)
{
    if (is_of_parent(lock)) {
        renew(lock);
    }
    pthread_mutex_lock(&lock->mutex);
}

void wj_lock_give(wj_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

void wj_lock_destroy(wj_lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}
