/* Reading and writing files through descriptors. root/file holds "hello world". */
#include "case.h"

static char buffer[256];
static size_t count;
static uint64_t at;

static struct filestat status_of(fd_t fd) {
    struct filestat status;
    IS(fd_filestat_get(fd, &status), SUCCESS);
    return status;
}

CASE(read_moves_on) {
    fd_t fd = open("file", 0, READ);
    IS(read(fd, buffer, 5, &count), SUCCESS);
    show_bytes("read", buffer, count);
    IS(position(fd), 5);
    IS(read(fd, buffer, 100, &count), SUCCESS);
    show_bytes("read", buffer, count);
    IS(read(fd, buffer, 100, &count), SUCCESS);
    IS(count, 0);
}
CASE(read_many) {
    char a[4], b[20];
    struct vector parts[] = {{a, 0}, {a, 4}, {b, 20}};
    IS(fd_read(open("file", 0, READ), parts, 3, &count), SUCCESS);
    IS(count, 11);
    IS(equal(a, "hell", 4) && equal(b, "o world", 7), 1);
}
CASE(read_without_right) { IS(read(open("file", 0, WRITE), buffer, 4, &count), EBADF); }
CASE(read_directory) { IS(read(ROOT, buffer, 4, &count), EBADF); }
CASE(read_closed) { IS(read(77, buffer, 4, &count), EBADF); }
CASE(read_keeps_the_rest) {
    fd_t fd = open("file", 0, READ);
    buffer[11] = 'x';
    IS(read(fd, buffer, 100, &count), SUCCESS);
    IS(buffer[11], 'x');
}

CASE(pread_does_not_move) {
    fd_t fd = open("file", 0, READ);
    struct vector all = {buffer, 5};
    IS(fd_pread(fd, &all, 1, 6, &count), SUCCESS);
    show_bytes("read", buffer, count);
    IS(position(fd), 0);
}
CASE(pread_past_the_end) {
    struct vector all = {buffer, 5};
    IS(fd_pread(open("file", 0, READ), &all, 1, 1000, &count), SUCCESS);
    IS(count, 0);
}
CASE(pread_huge_offset) {
    struct vector all = {buffer, 5};
    IS(fd_pread(open("file", 0, READ), &all, 1, UINT64_MAX, &count), EINVAL);
}
CASE(pread_directory) {
    struct vector all = {buffer, 5};
    IS(fd_pread(ROOT, &all, 1, 0, &count), EBADF);
}

CASE(write_over) {
    fd_t fd = open("file", 0, WRITE);
    IS(write(fd, "HE", &count), SUCCESS);
    IS(count, 2);
    IS(position(fd), 2);
}
CASE(write_past_the_end) {
    fd_t fd = open("file", 0, BOTH);
    IS(fd_seek(fd, 5, SEEK_END, &at), SUCCESS);
    IS(at, 16);
    IS(write(fd, "x", &count), SUCCESS);
    IS(size_of("file"), 17);
}
CASE(write_many) {
    struct vector parts[] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    IS(fd_write(open("new", CREAT, WRITE), parts, 3, &count), SUCCESS);
    IS(count, 5);
}
CASE(write_without_right) { IS(write(open("file", 0, READ), "x", &count), EBADF); }
CASE(write_directory) { IS(write(ROOT, "x", &count), EBADF); }
CASE(write_append) {
    fd_t fd = open_with(ROOT, "file", 0, BOTH, APPEND);
    IS(fd_seek(fd, 0, SEEK_SET, &at), SUCCESS);
    IS(write(fd, "!", &count), SUCCESS);
    IS(size_of("file"), 12);
}
CASE(write_two_descriptors) {
    fd_t a = open("file", 0, WRITE), b = open("file", 0, READ);
    IS(write(a, "12345", &count), SUCCESS);
    IS(read(b, buffer, 5, &count), SUCCESS);
    IS(equal(buffer, "12345", 5), 1);
}

CASE(pwrite_does_not_move) {
    fd_t fd = open("file", 0, WRITE);
    struct vector all = {"WORLD", 5};
    IS(fd_pwrite(fd, &all, 1, 6, &count), SUCCESS);
    IS(count, 5);
    IS(position(fd), 0);
}
CASE(pwrite_past_the_end) {
    struct vector all = {"x", 1};
    IS(fd_pwrite(open("file", 0, WRITE), &all, 1, 20, &count), SUCCESS);
    IS(size_of("file"), 21);
}
CASE(pwrite_without_right) {
    struct vector all = {"x", 1};
    IS(fd_pwrite(open("file", 0, READ), &all, 1, 0, &count), EBADF);
}

CASE(seek_set) {
    IS(fd_seek(open("file", 0, READ), 4, SEEK_SET, &at), SUCCESS);
    IS(at, 4);
}
CASE(seek_current) {
    fd_t fd = open("file", 0, READ);
    IS(fd_seek(fd, 4, SEEK_CUR, &at), SUCCESS);
    IS(fd_seek(fd, -1, SEEK_CUR, &at), SUCCESS);
    IS(at, 3);
}
CASE(seek_end) {
    IS(fd_seek(open("file", 0, READ), -3, SEEK_END, &at), SUCCESS);
    IS(at, 8);
}
CASE(seek_before_the_start) {
    fd_t fd = open("file", 0, READ);
    IS(fd_seek(fd, -1, SEEK_SET, &at), EINVAL);
    IS(fd_seek(fd, -1, SEEK_CUR, &at), EINVAL);
    IS(fd_seek(fd, -12, SEEK_END, &at), EINVAL);
    IS(position(fd), 0);
}
CASE(seek_unknown_whence) { IS(fd_seek(open("file", 0, READ), 0, 3, &at), EINVAL); }
CASE(seek_past_the_end) {
    fd_t fd = open("file", 0, READ);
    IS(fd_seek(fd, 1000, SEEK_SET, &at), SUCCESS);
    IS(at, 1000);
    IS(read(fd, buffer, 1, &count), SUCCESS);
    IS(count, 0);
    IS(size_of("file"), 11);
}
CASE(seek_overflow) {
    fd_t fd = open("file", 0, READ);
    IS(fd_seek(fd, 1, SEEK_SET, &at), SUCCESS);
    IS(fd_seek(fd, INT64_MAX, SEEK_CUR, &at), EINVAL);
}
CASE(seek_directory) { IS(fd_seek(ROOT, 0, SEEK_SET, &at), EBADF); }
CASE(tell_directory) { IS(fd_tell(ROOT, &at), EBADF); }

CASE(size_smaller) {
    IS(fd_filestat_set_size(open("file", 0, WRITE), 4), SUCCESS);
    IS(size_of("file"), 4);
}
CASE(size_larger) {
    IS(fd_filestat_set_size(open("file", 0, WRITE), 20), SUCCESS);
    IS(size_of("file"), 20);
}
CASE(size_huge) { IS(fd_filestat_set_size(open("file", 0, WRITE), UINT64_MAX), EINVAL); }
CASE(size_of_read_only) { IS(fd_filestat_set_size(open("file", 0, READ), 4), EINVAL); }
CASE(size_of_directory) { IS(fd_filestat_set_size(ROOT, 4), EBADF); }

CASE(allocate) {
    IS(fd_allocate(open("file", 0, BOTH), 5, 100), SUCCESS);
    IS(size_of("file"), 105);
}
CASE(allocate_never_shrinks) {
    IS(fd_allocate(open("file", 0, BOTH), 0, 4), SUCCESS);
    IS(size_of("file"), 11);
}
CASE(allocate_nothing) { IS(fd_allocate(open("file", 0, BOTH), 0, 0), EINVAL); }
CASE(allocate_without_right) { IS(fd_allocate(open("file", 0, READ), 0, 100), EBADF); }
CASE(allocate_directory) { IS(fd_allocate(ROOT, 0, 100), EBADF); }
CASE(advise) {
    fd_t fd = open("file", 0, READ);
    for (int advice = 0; advice <= 5; advice++) IS(fd_advise(fd, 0, 11, advice), SUCCESS);
}
CASE(advise_unknown) { IS(fd_advise(open("file", 0, READ), 0, 11, 6), EINVAL); }
CASE(advise_directory) { IS(fd_advise(ROOT, 0, 11, 0), EBADF); }
CASE(sync_file) {
    fd_t fd = open("file", 0, BOTH);
    IS(write(fd, "x", &count), SUCCESS);
    IS(fd_sync(fd), SUCCESS);
    IS(fd_datasync(fd), SUCCESS);
}
CASE(sync_directory) { IS(fd_sync(ROOT), SUCCESS); }
CASE(open_with_sync_flags) {
    fd_t fd;
    IS(path_open(ROOT, FOLLOW, PATH("file"), 0, BOTH, 0, DSYNC | SYNC, &fd), SUCCESS);
    IS(write(fd, "synced", &count), SUCCESS);
}
CASE(open_nonblocking) {
    struct fdstat found;
    fd_t fd = open_with(ROOT, "file", 0, READ, NONBLOCK);
    IS(fd_fdstat_get(fd, &found), SUCCESS);
    IS(found.flags, NONBLOCK);
    IS(read(fd, buffer, 5, &count), SUCCESS);
    IS(count, 5);
}
CASE(open_unknown_flags) {
    fd_t fd;
    IS(path_open(ROOT, FOLLOW, PATH("file"), 0, READ, 0, 32, &fd), EINVAL);
    IS(path_open(ROOT, FOLLOW, PATH("file"), 16, READ, 0, 0, &fd), EINVAL);
    IS(path_open(ROOT, 2, PATH("file"), 0, READ, 0, 0, &fd), EINVAL);
}
CASE(sync_closed) {
    IS(fd_sync(77), EBADF);
    IS(fd_datasync(77), EBADF);
}

CASE(stat_of_file) {
    struct filestat status = status_of(open("file", 0, READ));
    IS(status.filetype, IS_FILE);
    IS(status.size, 11);
    IS(status.nlink, 1);
    IS(status.mtim, 1000000000000000000);
    IS(status.dev != 0 || status.ino != 0, 1);
}
CASE(stat_of_directory) { IS(status_of(ROOT).filetype, IS_DIRECTORY); }
CASE(stat_same_inode) {
    struct filestat a = status_of(open("file", 0, READ)), b;
    IS(path_filestat_get(ROOT, FOLLOW, PATH("link"), &b), SUCCESS);
    IS(a.ino == b.ino && a.dev == b.dev, 1);
}
CASE(stat_after_unlink) {
    fd_t fd = open("file", 0, READ);
    IS(path_unlink_file(ROOT, PATH("file")), SUCCESS);
    IS(status_of(fd).nlink, 0);
    IS(read(fd, buffer, 5, &count), SUCCESS);
    IS(count, 5);
}
CASE(stat_of_closed) {
    struct filestat status;
    IS(fd_filestat_get(77, &status), EBADF);
}

CASE(times_set) {
    fd_t fd = open("file", 0, BOTH);
    IS(fd_filestat_set_times(fd, 1000, 2000, ACCESS | MODIFY), SUCCESS);
    IS(status_of(fd).atim, 1000);
    IS(status_of(fd).mtim, 2000);
}
CASE(times_one_kept) {
    fd_t fd = open("file", 0, BOTH);
    IS(fd_filestat_set_times(fd, 5000, 0, ACCESS), SUCCESS);
    IS(status_of(fd).atim, 5000);
    IS(status_of(fd).mtim, 1000000000000000000);
}
CASE(times_now) {
    fd_t fd = open("file", 0, BOTH);
    IS(fd_filestat_set_times(fd, 0, 0, MODIFY_NOW), SUCCESS);
    IS(status_of(fd).mtim > 1600000000000000000, 1);
    IS(fd_filestat_set_times(fd, 0, 7000, MODIFY), SUCCESS);
}
CASE(times_both_and_now) {
    IS(fd_filestat_set_times(open("file", 0, BOTH), 1, 1, MODIFY | MODIFY_NOW), EINVAL);
    IS(fd_filestat_set_times(open("file", 0, BOTH), 1, 1, ACCESS | ACCESS_NOW), EINVAL);
}
CASE(times_unknown_flags) { IS(fd_filestat_set_times(open("file", 0, BOTH), 1, 1, 16), EINVAL); }
