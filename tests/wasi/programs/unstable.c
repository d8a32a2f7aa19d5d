/* wasi_unstable, the snapshot before preview 1: whence, filestat and subscription are laid out differently there. */
#include "case.h"

#define OLD(name) CALL_OF(wasi_unstable, name)
OLD(fd_seek) int old_seek(fd_t, int64_t, int, uint64_t *);
OLD(fd_filestat_get) int old_fd_filestat_get(fd_t, void *);
OLD(path_filestat_get) int old_path_filestat_get(fd_t, int, const char *, size_t, void *);
OLD(path_open) int old_open(fd_t, int, const char *, size_t, int, uint64_t, uint64_t, int, fd_t *);
OLD(fd_write) int old_write(fd_t, const struct vector *, size_t, size_t *);
OLD(clock_time_get) int old_clock_time_get(uint32_t, uint64_t, uint64_t *);
OLD(poll_oneoff) int old_poll_oneoff(const void *, struct event *, size_t, size_t *);

enum { OLD_SEEK_CUR = 0, OLD_SEEK_END = 1, OLD_SEEK_SET = 2 };
struct old_filestat { uint64_t dev, ino; uint8_t filetype; uint32_t nlink; uint64_t size, atim, mtim, ctim; };
struct old_clock { uint64_t userdata; uint8_t type; uint64_t identifier; uint32_t id; uint64_t timeout, precision;
                   uint16_t absolute; };
_Static_assert(sizeof(struct old_filestat) == 56 && sizeof(struct old_clock) == 56, "snapshot 0");

CASE(old_seek_whence) {
    fd_t fd;
    uint64_t at;
    IS(old_open(ROOT, FOLLOW, PATH("file"), 0, READ, READ, 0, &fd), SUCCESS);
    IS(old_seek(fd, -3, OLD_SEEK_END, &at), SUCCESS);
    IS(at, 8);
    IS(old_seek(fd, 1, OLD_SEEK_CUR, &at), SUCCESS);
    IS(at, 9);
    IS(old_seek(fd, 2, OLD_SEEK_SET, &at), SUCCESS);
    IS(at, 2);
    IS(old_seek(fd, 2, 3, &at), EINVAL);
}
CASE(old_filestat_layout) {
    struct { struct old_filestat status; uint64_t beyond; } found = {.beyond = 77};
    fd_t fd = open("file", 0, READ);
    IS(old_fd_filestat_get(fd, &found), SUCCESS);
    IS(found.status.filetype, IS_FILE);
    IS(found.status.nlink, 1);
    IS(found.status.size, 11);
    IS(found.status.mtim, 1000000000000000000);
    IS(found.beyond, 77);
}
CASE(old_path_filestat_layout) {
    struct { struct old_filestat status; uint64_t beyond; } found = {.beyond = 77};
    IS(old_path_filestat_get(ROOT, 0, PATH("file"), &found), SUCCESS);
    IS(found.status.nlink, 1);
    IS(found.status.size, 11);
    IS(found.beyond, 77);
}
CASE(old_clock_subscription) {
    struct old_clock subscription = {.userdata = 5, .id = MONOTONIC, .timeout = 1000000};
    struct event event;
    size_t count;
    IS(old_poll_oneoff(&subscription, &event, 1, &count), SUCCESS);
    IS(count, 1);
    IS(event.userdata, 5);
}
CASE(old_write_and_clock) {
    struct vector all = {"old\n", 4};
    size_t count;
    uint64_t now_ns;
    IS(old_write(1, &all, 1, &count), SUCCESS);
    IS(old_clock_time_get(REALTIME, 1, &now_ns), SUCCESS);
}
