/* Standard input, output and error, and descriptors as such. */
#include "case.h"

static char buffer[256];
static size_t count;

CASE(stdin_read) {
    IS(read(0, buffer, 8, &count), SUCCESS);
    show_bytes("read", buffer, count);
    IS(read(0, buffer, 100, &count), SUCCESS);
    show_bytes("rest", buffer, count);
}

CASE(stdin_end) {
    IS(read(0, buffer, 100, &count), SUCCESS);
    IS(count, 14);
    IS(read(0, buffer, 100, &count), SUCCESS);
    IS(count, 0);
}

CASE(stdin_read_nothing) {
    IS(read(0, buffer, 0, &count), SUCCESS);
    IS(count, 0);
    IS(fd_read(0, 0, 0, &count), SUCCESS);
    IS(count, 0);
}

CASE(stdin_write) { IS(write(0, "x", &count), EBADF); }
CASE(stdin_seek) {
    uint64_t at;
    IS(fd_seek(0, 0, SEEK_SET, &at), ESPIPE);
}
CASE(stdin_tell) {
    uint64_t at;
    IS(fd_tell(0, &at), ESPIPE);
}
CASE(stdin_pread) {
    struct vector all = {buffer, 4};
    IS(fd_pread(0, &all, 1, 0, &count), ESPIPE);
}

CASE(stdout_write) {
    IS(write(1, "hello\n", &count), SUCCESS);
    IS(count, 6);
}

CASE(stderr_write) {
    IS(write(2, "oops\n", &count), SUCCESS);
    IS(count, 5);
}

CASE(stdout_write_nothing) {
    IS(write(1, "", &count), SUCCESS);
    IS(count, 0);
}

CASE(stdout_write_many) {
    struct vector parts[] = {{"one ", 4}, {"", 0}, {"two ", 4}, {"three\n", 6}};
    IS(fd_write(1, parts, 4, &count), SUCCESS);
    IS(count, 14);
}

CASE(stdout_write_all_bytes) {
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    struct vector vector = {all, sizeof all};
    IS(fd_write(1, &vector, 1, &count), SUCCESS);
    IS(count, 256);
}

CASE(stdout_write_large) {
    static char large[300000];
    for (size_t i = 0; i < sizeof large; i++) large[i] = "0123456789\n"[i % 11];
    for (size_t at = 0; at < sizeof large; at += count) {
        struct vector vector = {large + at, sizeof large - at};
        IS(fd_write(1, &vector, 1, &count), SUCCESS);
        IS(count > 0, 1);
    }
}

CASE(stdout_read) { IS(read(1, buffer, 4, &count), EBADF); }
CASE(stdout_seek) {
    uint64_t at;
    IS(fd_seek(1, 0, SEEK_CUR, &at), ESPIPE);
}
CASE(stdout_pwrite) {
    struct vector all = {"abc", 3};
    IS(fd_pwrite(1, &all, 1, 0, &count), ESPIPE);
}

CASE(write_from_outside_memory) {
    struct vector outside = {(void *)0xfffffff0, 8};
    IS(fd_write(1, &outside, 1, &count), EFAULT);
}
CASE(read_into_outside_memory) {
    struct vector outside = {(void *)0xfffffff0, 8};
    IS(fd_read(0, &outside, 1, &count), EFAULT);
}
CASE(vector_list_outside_memory) { IS(fd_write(1, (struct vector *)0xfffffff8, 2, &count), EFAULT); }
CASE(count_outside_memory) {
    struct vector all = {"x", 1};
    IS(fd_write(1, &all, 1, (size_t *)0xfffffffe), EFAULT);
}

CASE(stdin_is_no_directory) { IS(try_open(0, FOLLOW, "file", 0, READ), EBADF); }
CASE(stdout_is_no_preopen) {
    struct prestat prestat;
    IS(fd_prestat_get(1, &prestat), EBADF);
}
CASE(streams_sync) {
    IS(fd_sync(1), EBADF);
    IS(fd_datasync(1), EBADF);
}
CASE(streams_have_no_size) { IS(fd_filestat_set_size(1, 0), EBADF); }
CASE(stdout_filetype) {
    struct filestat status;
    IS(fd_filestat_get(1, &status), SUCCESS);
    IS(status.size, 0);
}
CASE(stdout_closed) {
    IS(fd_close(1), SUCCESS);
    IS(write(1, "lost", &count), EBADF);
}

CASE(close_twice) {
    fd_t fd = open("file", 0, READ);
    IS(fd_close(fd), SUCCESS);
    IS(fd_close(fd), EBADF);
}
CASE(close_never_opened) { IS(fd_close(77), EBADF); }
CASE(close_negative) { IS(fd_close(-1), EBADF); }
CASE(lowest_number_is_reused) {
    fd_t first = open("file", 0, READ), second = open("dir/a", 0, READ);
    IS(second, first + 1);
    IS(fd_close(first), SUCCESS);
    IS(open("file", 0, READ), first);
}
CASE(first_free_number) { IS(open("file", 0, READ), FREE); }

CASE(renumber) {
    fd_t from = open("file", 0, READ), to = open("dir/a", 0, READ);
    IS(fd_renumber(from, to), SUCCESS);
    IS(read(from, buffer, 4, &count), EBADF);
    IS(read(to, buffer, 5, &count), SUCCESS);
    show_bytes("read", buffer, count);
}
CASE(renumber_to_itself) {
    fd_t fd = open("file", 0, READ);
    IS(fd_renumber(fd, fd), SUCCESS);
    IS(read(fd, buffer, 5, &count), SUCCESS);
    IS(count, 5);
}
CASE(renumber_from_closed) { IS(fd_renumber(77, FREE), EBADF); }
CASE(renumber_to_closed) {
    fd_t fd = open("file", 0, READ);
    IS(fd_renumber(fd, fd + 50), EBADF);
}
CASE(renumber_keeps_position) {
    fd_t from = open("file", 0, READ), to = open("dir/a", 0, READ);
    IS(read(from, buffer, 6, &count), SUCCESS);
    IS(fd_renumber(from, to), SUCCESS);
    IS(position(to), 6);
}
CASE(renumber_over_stdin) {
    fd_t fd = open("file", 0, READ);
    IS(fd_renumber(fd, 0), SUCCESS);
    IS(read(0, buffer, 5, &count), SUCCESS);
    show_bytes("read", buffer, count);
}

CASE(prestat_directories) {
    struct prestat prestat;
    char name[8];
    IS(fd_prestat_get(ROOT, &prestat), SUCCESS);
    IS(prestat.tag, 0);
    IS(prestat.name_size, 1);
    IS(fd_prestat_dir_name(ROOT, name, 1), SUCCESS);
    IS(name[0], '/');
    IS(fd_prestat_get(READ_ONLY, &prestat), SUCCESS);
    IS(prestat.name_size, 3);
    IS(fd_prestat_dir_name(READ_ONLY, name, 3), SUCCESS);
    IS(equal(name, "/ro", 3), 1);
}
CASE(prestat_ends) {
    struct prestat prestat;
    IS(fd_prestat_get(FREE, &prestat), EBADF);
}
CASE(prestat_name_too_long) {
    char name[2];
    IS(fd_prestat_dir_name(READ_ONLY, name, 2), ENAMETOOLONG);
}
CASE(prestat_of_opened_directory) {
    struct prestat prestat;
    IS(fd_prestat_get(open("dir", DIRECTORY, RIGHT_READDIR), &prestat), EBADF);
}
CASE(preopen_closed) {
    IS(fd_close(ROOT), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "file", 0, READ), EBADF);
}

static struct fdstat fdstat(fd_t fd) {
    struct fdstat found = {0};
    IS(fd_fdstat_get(fd, &found), SUCCESS);
    return found;
}

CASE(fdstat_of_file) {
    struct fdstat found = fdstat(open("file", 0, BOTH));
    IS(found.filetype, IS_FILE);
    IS(found.flags, 0);
    IS((found.rights & BOTH) == BOTH, 1);
}
CASE(fdstat_of_directory) {
    struct fdstat found = fdstat(ROOT);
    IS(found.filetype, IS_DIRECTORY);
    IS((found.rights & RIGHT_OPEN) != 0, 1);
}
CASE(fdstat_of_closed) {
    struct fdstat found;
    IS(fd_fdstat_get(77, &found), EBADF);
}
CASE(fdstat_append) { IS(fdstat(open_with(ROOT, "file", 0, BOTH, APPEND)).flags, APPEND); }
CASE(fdstat_outside_memory) { IS(fd_fdstat_get(ROOT, (struct fdstat *)0xfffffff4), EFAULT); }

CASE(set_flags_append) {
    fd_t fd = open("file", 0, BOTH);
    IS(fd_fdstat_set_flags(fd, APPEND), SUCCESS);
    IS(fdstat(fd).flags, APPEND);
    IS(write(fd, "!", &count), SUCCESS);
    IS(size_of("file"), 12);
}
CASE(set_flags_sync) { IS(fd_fdstat_set_flags(open("file", 0, BOTH), SYNC), EINVAL); }
CASE(set_flags_of_directory) { IS(fd_fdstat_set_flags(ROOT, APPEND), EBADF); }
CASE(set_rights_are_never_more) {
    fd_t fd = open("file", 0, READ);
    IS(fd_fdstat_set_rights(fd, BOTH, 0), ENOTCAPABLE);
}
CASE(set_rights_to_less) { IS(fd_fdstat_set_rights(open("file", 0, BOTH), READ, 0), SUCCESS); }
CASE(set_rights_of_closed) { IS(fd_fdstat_set_rights(77, 0, 0), EBADF); }

CASE(accept_on_file) {
    fd_t accepted;
    IS(sock_accept(open("file", 0, READ), 0, &accepted), ENOTSOCK);
}
CASE(accept_on_closed) {
    fd_t accepted;
    IS(sock_accept(77, 0, &accepted), EBADF);
}
CASE(recv_on_file) {
    struct vector all = {buffer, 4};
    uint16_t flags;
    IS(sock_recv(open("file", 0, READ), &all, 1, 0, &count, &flags), ENOTSOCK);
}
CASE(send_on_file) {
    struct vector all = {"abc", 3};
    IS(sock_send(open("file", 0, BOTH), &all, 1, 0, &count), ENOTSOCK);
}
CASE(shutdown_on_file) { IS(sock_shutdown(open("file", 0, READ), 1), ENOTSOCK); }
CASE(shutdown_on_closed) { IS(sock_shutdown(77, 1), EBADF); }
