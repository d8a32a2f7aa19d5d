/* poll_oneoff: sleeping, and waiting for descriptors. */
#include "case.h"

static struct event events[4];
static size_t count;

static struct subscription sleep_for(uint64_t duration_ns, uint64_t userdata) {
    return (struct subscription){.userdata = userdata, .type = EVENT_CLOCK,
                                 .clock = {.id = MONOTONIC, .timeout = duration_ns}};
}

static struct subscription wait_for(int type, fd_t fd, uint64_t userdata) {
    return (struct subscription){.userdata = userdata, .type = (uint8_t)type, .fd = fd};
}

static uint64_t now_of(uint32_t clock) {
    uint64_t now_ns = 0;
    IS(clock_time_get(clock, 1, &now_ns), SUCCESS);
    return now_ns;
}

CASE(nothing_to_wait_for) { IS(poll_oneoff(0, events, 0, &count), EINVAL); }
CASE(sleeps) {
    struct subscription subscription = sleep_for(20000000, 7);
    uint64_t start_ns = now_of(MONOTONIC);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(now_of(MONOTONIC) - start_ns >= 20000000, 1);
    IS(count, 1);
    IS(events[0].userdata, 7);
    IS(events[0].type, EVENT_CLOCK);
    IS(events[0].error, SUCCESS);
}
CASE(sleeps_not_at_all) {
    struct subscription subscription = sleep_for(0, 7);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
}
CASE(sleeps_until) {
    struct subscription subscription = sleep_for(now_of(MONOTONIC) + 10000000, 7);
    subscription.clock.absolute = 1;
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(now_of(MONOTONIC) >= subscription.clock.timeout, 1);
}
CASE(sleeps_until_the_past) {
    struct subscription subscription = sleep_for(1, 7);
    subscription.clock.absolute = 1;
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
}
CASE(sleeps_by_realtime) {
    struct subscription subscription = sleep_for(5000000, 7);
    subscription.clock.id = REALTIME;
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
}
CASE(sleeps_until_realtime) {
    struct subscription subscription = sleep_for(now_of(REALTIME) + 5000000, 7);
    subscription.clock.id = REALTIME;
    subscription.clock.absolute = 1;
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(now_of(REALTIME) >= subscription.clock.timeout, 1);
}
CASE(shortest_sleep_wins) {
    struct subscription both[] = {sleep_for(60000000000, 1), sleep_for(1000000, 2)};
    IS(poll_oneoff(both, events, 2, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].userdata, 2);
}
CASE(unknown_clock) {
    struct subscription subscription = sleep_for(0, 7);
    subscription.clock.id = 99;
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].userdata, 7);
    IS(events[0].error, EINVAL);
}
CASE(unknown_type) {
    struct subscription subscription = {.userdata = 7, .type = 9};
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(events[0].error, EINVAL);
}
CASE(file_to_read) {
    struct subscription subscription = wait_for(EVENT_READ, open("file", 0, READ), 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].userdata, 9);
    IS(events[0].type, EVENT_READ);
    IS(events[0].error, SUCCESS);
}
CASE(file_bytes_left) {
    struct subscription subscription = wait_for(EVENT_READ, open("file", 0, READ), 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(events[0].bytes, 11);
}
CASE(file_to_write) {
    struct subscription subscription = wait_for(EVENT_WRITE, open("file", 0, BOTH), 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].type, EVENT_WRITE);
}
CASE(stdout_to_write) {
    struct subscription subscription = wait_for(EVENT_WRITE, 1, 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].error, SUCCESS);
}
CASE(stdin_to_read) {
    struct subscription subscription = wait_for(EVENT_READ, 0, 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].type, EVENT_READ);
}
CASE(ready_beats_sleep) {
    struct subscription both[] = {sleep_for(60000000000, 1), wait_for(EVENT_WRITE, 1, 2)};
    IS(poll_oneoff(both, events, 2, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].userdata, 2);
}
CASE(several_ready) {
    struct subscription both[] = {wait_for(EVENT_WRITE, 1, 1), wait_for(EVENT_WRITE, 2, 2)};
    IS(poll_oneoff(both, events, 2, &count), SUCCESS);
    IS(count, 2);
    IS(events[0].userdata + events[1].userdata, 3);
}
CASE(closed_descriptor) {
    struct subscription subscription = wait_for(EVENT_READ, 77, 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].userdata, 9);
    IS(events[0].error, EBADF);
}
CASE(directory) {
    struct subscription subscription = wait_for(EVENT_READ, ROOT, 9);
    IS(poll_oneoff(&subscription, events, 1, &count), SUCCESS);
    IS(count, 1);
    IS(events[0].error, SUCCESS);
}
CASE(outside_memory) { IS(poll_oneoff((struct subscription *)0xfffffff0, events, 1, &count), EFAULT); }
