/* Runs a kernel that was compiled with -Dmain=kernel_main, once, and reports its time to stderr as JSON. */
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

int kernel_main(int argc, char **argv);

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    struct rusage usage;
    double started = now(CLOCK_MONOTONIC), busy = now(CLOCK_THREAD_CPUTIME_ID);
    int status = kernel_main(argc, argv);
    fflush(stdout);
    busy = now(CLOCK_THREAD_CPUTIME_ID) - busy;
    double seconds = now(CLOCK_MONOTONIC) - started;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr, "{\"execute_s\": %.9f, \"execute_cpu_s\": %.9f, \"peak_bytes\": %ld}\n", seconds, busy,
            usage.ru_maxrss * 1024);
    return status;
}
