/* Arguments, environment, clocks, random bytes, and the end of the program. */
#include "case.h"

CASE(args_sizes) {
    size_t count, size;
    IS(args_sizes_get(&count, &size), SUCCESS);
    IS(count, 4);
    IS(size, 12 + 11 + 1 + 6); /* "environment" "args_sizes" "" "ünï" with their NULs */
}

CASE(args_content) {
    char *arguments[4], bytes[64];
    IS(args_get(arguments, bytes), SUCCESS);
    for (int i = 0; i < 4; i++) show_bytes("argument", arguments[i], length(arguments[i]));
}

CASE(args_are_consecutive) {
    char *arguments[4], bytes[64];
    IS(args_get(arguments, bytes), SUCCESS);
    IS(arguments[0] - bytes, 0);
    for (int i = 1; i < 4; i++) IS(arguments[i] - arguments[i - 1], length(arguments[i - 1]) + 1);
}

CASE(environ_sizes) {
    size_t count, size;
    IS(environ_sizes_get(&count, &size), SUCCESS);
    IS(count, 3);
    IS(size, sizeof "A=1" + sizeof "EMPTY=" + sizeof "EQUALS=a=b");
}

CASE(environ_content) {
    char *variables[3], bytes[64];
    IS(environ_get(variables, bytes), SUCCESS);
    for (int i = 0; i < 3; i++) show_bytes("variable", variables[i], length(variables[i]));
}

CASE(args_sizes_outside_memory) { IS(args_sizes_get((size_t *)0xfffffff0, (size_t *)0xfffffff4), EFAULT); }
CASE(environ_outside_memory) { IS(environ_get((char **)0xfffffff0, (char *)0xfffffff0), EFAULT); }

CASE(clock_resolution) {
    for (uint32_t id = REALTIME; id <= MONOTONIC; id++) {
        uint64_t resolution_ns = 0;
        IS(clock_res_get(id, &resolution_ns), SUCCESS);
        IS(resolution_ns > 0 && resolution_ns <= 1000000000, 1);
    }
}

CASE(clock_resolution_unknown) {
    uint64_t resolution_ns;
    IS(clock_res_get(99, &resolution_ns), EINVAL);
}

CASE(clock_unknown) {
    uint64_t now_ns;
    IS(clock_time_get(99, 1, &now_ns), EINVAL);
}

CASE(clock_realtime) {
    uint64_t now_ns = 0;
    IS(clock_time_get(REALTIME, 1, &now_ns), SUCCESS);
    IS(now_ns > 1600000000000000000, 1);
}

CASE(clock_monotonic) {
    uint64_t last_ns = 0, now_ns;
    for (int i = 0; i < 1000; i++) {
        IS(clock_time_get(MONOTONIC, 0, &now_ns), SUCCESS);
        IS(now_ns >= last_ns, 1);
        last_ns = now_ns;
    }
}

CASE(clock_any_precision) {
    uint64_t now_ns;
    IS(clock_time_get(MONOTONIC, UINT64_MAX, &now_ns), SUCCESS);
}

CASE(clock_outside_memory) { IS(clock_time_get(REALTIME, 0, (uint64_t *)0xfffffffc), EFAULT); }
CASE(clock_unaligned) {
    static char bytes[16];
    IS(clock_time_get(REALTIME, 0, (uint64_t *)(bytes + 1)), SUCCESS);
    IS(bytes[0], 0);
}
CASE(clock_process) {
    uint64_t used_ns;
    IS(clock_time_get(PROCESS_TIME, 0, &used_ns), SUCCESS);
}

CASE(random_differs) {
    uint64_t bytes[8] = {0};
    IS(random_get(bytes, sizeof bytes), SUCCESS);
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < i; k++) IS(bytes[i] != bytes[k], 1);
}

CASE(random_fills_all) {
    static uint8_t bytes[70000];
    uint32_t zeros = 0;
    IS(random_get(bytes, sizeof bytes), SUCCESS);
    for (size_t i = sizeof bytes - 4096; i < sizeof bytes; i++) zeros += !bytes[i];
    IS(zeros < 100, 1);
}

CASE(random_nothing) {
    uint8_t byte = 77;
    IS(random_get(&byte, 0), SUCCESS);
    IS(byte, 77);
}

CASE(random_outside_memory) { IS(random_get((void *)0xfffffff0, 8), EFAULT); }
CASE(yield) { IS(sched_yield(), SUCCESS); }
CASE(returning_is_success) {}
CASE(exit_0) { proc_exit(0); }
CASE(exit_1) { proc_exit(1); }
CASE(exit_42) { proc_exit(42); }
CASE(exit_125) { proc_exit(125); }
CASE(exit_255) { proc_exit(255); }
CASE(raise) { IS(proc_raise(6), ENOTSUP); }
CASE(exit_ends_at_once) {
    print_to(1, "before\n");
    proc_exit(7);
    print_to(1, "after\n");
}
