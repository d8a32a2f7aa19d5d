/* Programs with threads. Each export takes how many there are to be, and returns a number that depends on all that was
 * done, but not on who did it. */
#include "threads.h"

#define ROUNDS 2000
#define ITEMS 512
#define SIDE 48

static int total;
static mutex guard;
static condition changed;

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- counters ---- */

static void count(int number)
{
    for (int i = 0; i < ROUNDS; i++) {
        __atomic_add_fetch(&total, 1 + (i & 1), __ATOMIC_SEQ_CST);
    }
}

EXPORT(counters) int64_t counters(int threads)
{
    total = 0;
    run_on(threads, count);
    return (int64_t)total * 8 / threads;
}

/* ---- mutexes ---- */

static uint64_t guarded[2]; /* which are the same whenever nobody has the mutex */

static void add_guarded(int number)
{
    for (int i = 0; i < ROUNDS; i++) {
        lock(&guard);
        guarded[0] += guarded[0] == guarded[1] ? 1 : 1000000;
        guarded[1]++;
        unlock(&guard);
    }
}

EXPORT(mutexes) int64_t mutexes(int threads)
{
    guarded[0] = guarded[1] = 0;
    run_on(threads, add_guarded);
    return (int64_t)(guarded[0] + guarded[1]) / threads;
}

/* ---- condition variables: threads take turns ---- */

static int turn;
static int players;
static uint64_t turns_taken;

static void take_turns(int number)
{
    for (int i = 0; i < ITEMS / players; i++) {
        lock(&guard);
        while (turn % players != number) {
            wait_for(&changed, &guard);
        }
        turns_taken = turns_taken * 31 + (uint64_t)turn;
        turn++;
        signal_all(&changed);
        unlock(&guard);
    }
}

EXPORT(conditions) int64_t conditions(int threads)
{
    turn = 0;
    turns_taken = 0;
    players = threads;
    run_on(threads, take_turns);
    return (int64_t)turns_taken;
}

/* ---- a bounded queue: the last thread makes work, all others do it (alone, it does both) ---- */

#define QUEUE 8
static struct {
    mutex guard;
    condition changed;
    int items[QUEUE], first, count, is_over;
} queue;
static int64_t done;
static int workers;

static int work_on(int item)
{
    uint32_t seed = (uint32_t)item;
    for (int i = 0; i < 20; i++) {
        (void)next_random(&seed);
    }
    return (int)(seed >> 16);
}

static void put(int item)
{
    lock(&queue.guard);
    while (queue.count == QUEUE) {
        wait_for(&queue.changed, &queue.guard);
    }
    queue.items[(queue.first + queue.count++) % QUEUE] = item;
    signal_all(&queue.changed);
    unlock(&queue.guard);
}

/* False: there is no more to come. */
static int take(int *item)
{
    lock(&queue.guard);
    while (queue.count == 0 && !queue.is_over) {
        wait_for(&queue.changed, &queue.guard);
    }
    int found = queue.count > 0;
    if (found) {
        *item = queue.items[queue.first];
        queue.first = (queue.first + 1) % QUEUE;
        queue.count--;
        signal_all(&queue.changed);
    }
    unlock(&queue.guard);
    return found;
}

static void make_or_do(int number)
{
    int item;
    if (number < workers - 1) {
        while (take(&item)) {
            __atomic_add_fetch(&done, work_on(item), __ATOMIC_SEQ_CST);
        }
        return;
    }
    for (int i = 0; i < ITEMS; i++) {
        if (workers == 1) {
            done += work_on(i);
        } else {
            put(i);
        }
    }
    lock(&queue.guard);
    queue.is_over = 1;
    signal_all(&queue.changed);
    unlock(&queue.guard);
}

EXPORT(work_queue) int64_t work_queue(int threads)
{
    done = 0;
    workers = threads;
    queue.first = queue.count = queue.is_over = 0;
    run_on(threads, make_or_do);
    return done;
}

/* ---- sorting: each thread its part, then they are merged ---- */

#define NUMBERS 8192
static uint32_t numbers[NUMBERS], merged[NUMBERS];
static int parts;

static void sort_part(int number)
{
    uint32_t *of = numbers + number * (NUMBERS / parts);
    int count = NUMBERS / parts;
    for (int start = count / 2 - 1; start >= 0; start--) { /* a heap sort */
        for (int at = start, child; (child = 2 * at + 1) < count; at = child) {
            child += child + 1 < count && of[child + 1] > of[child];
            if (of[at] >= of[child]) {
                break;
            }
            uint32_t kept = of[at];
            of[at] = of[child];
            of[child] = kept;
        }
    }
    for (int end = count - 1; end > 0; end--) {
        uint32_t largest = of[0];
        of[0] = of[end];
        of[end] = largest;
        for (int at = 0, child; (child = 2 * at + 1) < end; at = child) {
            child += child + 1 < end && of[child + 1] > of[child];
            if (of[at] >= of[child]) {
                break;
            }
            uint32_t kept = of[at];
            of[at] = of[child];
            of[child] = kept;
        }
    }
}

EXPORT(sort) int64_t sort(int threads)
{
    uint32_t seed = 7;
    for (int i = 0; i < NUMBERS; i++) {
        numbers[i] = next_random(&seed);
    }
    parts = threads;
    run_on(threads, sort_part);
    int at[MOST_THREADS];
    for (int i = 0; i < parts; i++) {
        at[i] = i * (NUMBERS / parts);
    }
    uint64_t hash = 0;
    for (int i = 0; i < NUMBERS; i++) {
        int best = -1;
        for (int part = 0; part < parts; part++) {
            int end = (part + 1) * (NUMBERS / parts);
            if (at[part] < end && (best < 0 || numbers[at[part]] < numbers[at[best]])) {
                best = part;
            }
        }
        merged[i] = numbers[at[best]++];
        hash = hash * 31 + merged[i];
        if (i > 0 && merged[i - 1] > merged[i]) {
            return -1;
        }
    }
    return (int64_t)(hash >> 1);
}

/* ---- matrices ---- */

static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];
static int next_row; /* atomic */

static void multiply(int number)
{
    int row;
    while ((row = __atomic_fetch_add(&next_row, 1, __ATOMIC_SEQ_CST)) < SIDE) {
        for (int column = 0; column < SIDE; column++) {
            double sum = 0;
            for (int i = 0; i < SIDE; i++) {
                sum += left[row][i] * right[i][column];
            }
            product[row][column] = sum;
        }
    }
}

EXPORT(matrix) int64_t matrix(int threads)
{
    uint32_t seed = 3;
    for (int i = 0; i < SIDE * SIDE; i++) {
        left[0][i] = next_random(&seed) % 100;
        right[0][i] = next_random(&seed) % 100;
    }
    next_row = 0;
    run_on(threads, multiply);
    uint64_t hash = 0;
    for (int i = 0; i < SIDE * SIDE; i++) {
        hash = hash * 31 + (uint64_t)product[0][i];
    }
    return (int64_t)(hash >> 1);
}

/* ---- Mandelbrot's set ---- */

static uint8_t picture[SIDE][SIDE];

static void draw(int number)
{
    int row;
    while ((row = __atomic_fetch_add(&next_row, 1, __ATOMIC_SEQ_CST)) < SIDE) {
        for (int column = 0; column < SIDE; column++) {
            double x = 0, y = 0, cx = 3.0 * column / SIDE - 2.25, cy = 2.5 * row / SIDE - 1.25;
            int steps = 0;
            while (steps < 100 && x * x + y * y < 4) {
                double next = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = next;
                steps++;
            }
            picture[row][column] = (uint8_t)steps;
        }
    }
}

EXPORT(mandelbrot) int64_t mandelbrot(int threads)
{
    next_row = 0;
    run_on(threads, draw);
    uint64_t hash = 0;
    for (int i = 0; i < SIDE * SIDE; i++) {
        hash = hash * 31 + picture[0][i];
    }
    return (int64_t)(hash >> 1);
}

/* For figures: work that each thread does alone. */
static void spin_alone(int number)
{
    uint32_t seed = (uint32_t)number;
    for (int i = 0; i < 50000000; i++) {
        seed = seed * 1664525u + 1013904223u + (seed >> 7);
    }
    guarded[number & 1] = seed;
}

EXPORT(spin) int64_t spin(int threads)
{
    run_on(threads, spin_alone);
    return 0;
}
