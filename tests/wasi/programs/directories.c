/* fd_readdir: names, types, cookies and small buffers. root/many holds 40 files n00 ... n39. */
#include "case.h"

static char buffer[8192];
static size_t used;

struct listing { int entries, dots, files, directories, links; uint64_t last; };

/* Counts the whole entries of one answer. */
static struct listing count_entries(size_t size) {
    struct listing found = {0};
    for (size_t at = 0; at + sizeof(struct dirent) <= size;) {
        struct dirent entry;
        __builtin_memcpy(&entry, buffer + at, sizeof entry);
        if (at + sizeof entry + entry.namlen > size) break;
        const char *name = buffer + at + sizeof entry;
        found.entries++;
        found.dots += (entry.namlen == 1 && equal(name, ".", 1)) || (entry.namlen == 2 && equal(name, "..", 2));
        found.files += entry.type == IS_FILE;
        found.directories += entry.type == IS_DIRECTORY;
        found.links += entry.type == IS_LINK;
        found.last = entry.next;
        at += sizeof entry + entry.namlen;
    }
    return found;
}

static fd_t open_directory(const char *path) { return open(path, DIRECTORY, RIGHT_READDIR | RIGHT_OPEN | READ); }

CASE(all_entries) {
    IS(fd_readdir(open_directory("many"), buffer, sizeof buffer, 0, &used), SUCCESS);
    struct listing found = count_entries(used);
    IS(found.entries, 42);
    IS(found.files, 40);
    IS(used < sizeof buffer, 1);
}
CASE(dot_and_dot_dot) {
    IS(fd_readdir(open_directory("many"), buffer, sizeof buffer, 0, &used), SUCCESS);
    IS(count_entries(used).dots, 2);
}
CASE(dots_come_first) {
    struct dirent entry;
    IS(fd_readdir(open_directory("many"), buffer, sizeof buffer, 0, &used), SUCCESS);
    __builtin_memcpy(&entry, buffer, sizeof entry);
    IS(entry.namlen, 1);
    IS(buffer[sizeof entry], '.');
}
CASE(empty_directory) {
    IS(fd_readdir(open_directory("empty"), buffer, sizeof buffer, 0, &used), SUCCESS);
    IS(count_entries(used).entries, 2);
}
CASE(types) {
    IS(fd_readdir(ROOT, buffer, sizeof buffer, 0, &used), SUCCESS);
    struct listing found = count_entries(used);
    IS(found.files, 1);
    IS(found.links, 7);
    IS(found.directories, 3 + 2);
}
CASE(inode_is_of_the_file) {
    struct filestat status;
    IS(path_filestat_get(ROOT, 0, PATH("many/n07"), &status), SUCCESS);
    IS(fd_readdir(open_directory("many"), buffer, sizeof buffer, 0, &used), SUCCESS);
    for (size_t at = 0; at < used;) {
        struct dirent entry;
        __builtin_memcpy(&entry, buffer + at, sizeof entry);
        if (equal(buffer + at + sizeof entry, "n07", 3)) IS(entry.ino, status.ino);
        at += sizeof entry + entry.namlen;
    }
}
CASE(cookies_go_on) {
    fd_t fd = open_directory("many");
    uint64_t cookie = 0;
    int entries = 0;
    for (;;) {
        IS(fd_readdir(fd, buffer, 100, cookie, &used), SUCCESS);
        struct listing found = count_entries(used);
        entries += found.entries;
        if (used < 100) break;
        IS(found.entries > 0, 1);
        cookie = found.last;
    }
    IS(entries, 42);
}
CASE(cookie_can_go_back) {
    fd_t fd = open_directory("many");
    IS(fd_readdir(fd, buffer, sizeof buffer, 0, &used), SUCCESS);
    size_t first = used;
    IS(fd_readdir(fd, buffer, sizeof buffer, 0, &used), SUCCESS);
    IS(used, first);
}
CASE(cookie_in_the_middle) {
    fd_t fd = open_directory("many");
    struct dirent entry;
    IS(fd_readdir(fd, buffer, sizeof buffer, 0, &used), SUCCESS);
    __builtin_memcpy(&entry, buffer, sizeof entry);
    IS(fd_readdir(fd, buffer, sizeof buffer, entry.next, &used), SUCCESS);
    IS(count_entries(used).entries, 41);
}
CASE(cookie_past_the_end) {
    IS(fd_readdir(open_directory("many"), buffer, sizeof buffer, 1000, &used), SUCCESS);
    IS(used, 0);
}
CASE(buffer_is_filled_with_a_part) {
    IS(fd_readdir(open_directory("many"), buffer, 110, 0, &used), SUCCESS);
    IS(used, 110);
}
CASE(buffer_smaller_than_an_entry) {
    IS(fd_readdir(open_directory("many"), buffer, 10, 0, &used), SUCCESS);
    IS(used, 10);
}
CASE(buffer_is_kept_beyond) {
    buffer[10] = 'x';
    IS(fd_readdir(open_directory("many"), buffer, 10, 0, &used), SUCCESS);
    IS(buffer[10], 'x');
}
CASE(buffer_of_nothing) {
    IS(fd_readdir(open_directory("many"), buffer, 0, 0, &used), SUCCESS);
    IS(used, 0);
}
CASE(buffer_outside_memory) { IS(fd_readdir(ROOT, (void *)0xfffffff0, 100, 0, &used), EFAULT); }
CASE(on_file) { IS(fd_readdir(open("file", 0, READ), buffer, 100, 0, &used), ENOTDIR); }
CASE(on_closed) { IS(fd_readdir(77, buffer, 100, 0, &used), EBADF); }
CASE(on_stdin) { IS(fd_readdir(0, buffer, 100, 0, &used) != SUCCESS, 1); }
CASE(sees_new_files) {
    fd_t fd = open_directory("empty");
    open("empty/new", CREAT, WRITE);
    IS(fd_readdir(fd, buffer, sizeof buffer, 0, &used), SUCCESS);
    IS(count_entries(used).entries, 3);
}
CASE(read_only_too) {
    IS(fd_readdir(READ_ONLY, buffer, sizeof buffer, 0, &used), SUCCESS);
    IS(count_entries(used).entries > 5, 1);
}
