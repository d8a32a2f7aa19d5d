/* Opening, making, removing, naming and linking by path. */
#include "case.h"

static char buffer[256];
static size_t count;

CASE(open_missing) { IS(try_open(ROOT, FOLLOW, "nope", 0, READ), ENOENT); }
CASE(open_missing_directory_on_the_way) { IS(try_open(ROOT, FOLLOW, "nope/x", 0, READ), ENOENT); }
CASE(open_through_file) { IS(try_open(ROOT, FOLLOW, "file/x", 0, READ), ENOTDIR); }
CASE(open_file_with_slash) { IS(try_open(ROOT, FOLLOW, "file/", 0, READ), ENOTDIR); }
CASE(open_nothing) { IS(try_open(ROOT, FOLLOW, "", 0, READ), ENOENT); }
CASE(open_dot) { IS(try_open(ROOT, FOLLOW, ".", DIRECTORY, RIGHT_READDIR), SUCCESS); }
CASE(open_dots_inside) { IS(try_open(ROOT, FOLLOW, "./dir/../dir/sub/../a", 0, READ), SUCCESS); }
CASE(open_double_slash) { IS(try_open(ROOT, FOLLOW, "dir//a", 0, READ), SUCCESS); }
CASE(open_directory_flag) { IS(try_open(ROOT, FOLLOW, "dir", DIRECTORY, RIGHT_READDIR), SUCCESS); }
CASE(open_directory_flag_on_file) { IS(try_open(ROOT, FOLLOW, "file", DIRECTORY, READ), ENOTDIR); }
CASE(open_directory_with_slash) { IS(try_open(ROOT, FOLLOW, "dir/", 0, RIGHT_READDIR), SUCCESS); }
CASE(open_directory_to_write) { IS(try_open(ROOT, FOLLOW, "dir", 0, BOTH), EISDIR); }
CASE(open_relative_to_opened) {
    fd_t dir = open("dir", DIRECTORY, READ | RIGHT_OPEN);
    IS(try_open(dir, FOLLOW, "a", 0, READ), SUCCESS);
}
CASE(open_relative_to_file) { IS(try_open(open("file", 0, READ), FOLLOW, "a", 0, READ), ENOTDIR); }
CASE(open_in_closed) { IS(try_open(77, FOLLOW, "file", 0, READ), EBADF); }
CASE(open_path_outside_memory) {
    fd_t fd;
    IS(path_open(ROOT, 0, (char *)0xfffffff0, 8, 0, READ, 0, 0, &fd), EFAULT);
}
CASE(open_bad_utf8) {
    IS(try_open(ROOT, FOLLOW, "\xff\xfe", 0, READ), EILSEQ);
}
CASE(open_unicode) {
    IS(try_open(ROOT, FOLLOW, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", CREAT, WRITE), SUCCESS);
    IS(exists("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"), 1);
}
CASE(open_name_too_long) {
    char name[257] = {0};
    for (int i = 0; i < 256; i++) name[i] = 'n';
    IS(try_open(ROOT, FOLLOW, name, 0, READ), ENAMETOOLONG);
}

CASE(create) {
    IS(try_open(ROOT, FOLLOW, "new", CREAT, BOTH), SUCCESS);
    IS(size_of("new"), 0);
}
CASE(create_existing) {
    open("file", CREAT, BOTH);
    IS(size_of("file"), 11);
}
CASE(create_exclusive) { IS(try_open(ROOT, FOLLOW, "new", CREAT | EXCL, WRITE), SUCCESS); }
CASE(create_exclusive_existing) { IS(try_open(ROOT, FOLLOW, "file", CREAT | EXCL, WRITE), EEXIST); }
CASE(create_exclusive_on_link) { IS(try_open(ROOT, FOLLOW, "dangling", CREAT | EXCL, WRITE), EEXIST); }
CASE(create_with_slash) {
    fd_t fd;
    IS(path_open(ROOT, 0, PATH("new/"), CREAT, WRITE, 0, 0, &fd) != SUCCESS, 1);
    IS(exists("new"), 0);
}
CASE(create_on_directory) { IS(try_open(ROOT, FOLLOW, "dir", CREAT, BOTH), EISDIR); }
CASE(create_directory_flag) { IS(try_open(ROOT, FOLLOW, "new", CREAT | DIRECTORY, WRITE), EINVAL); }
CASE(truncate) {
    open("file", TRUNC, WRITE);
    IS(size_of("file"), 0);
}
CASE(truncate_directory) { IS(try_open(ROOT, FOLLOW, "dir", TRUNC, BOTH), EISDIR); }

CASE(open_link_follow) {
    IS(read(open("link", 0, READ), buffer, 5, &count), SUCCESS);
    show_bytes("read", buffer, count);
}
CASE(open_link_no_follow) { IS(try_open(ROOT, 0, "link", 0, READ), ELOOP); }
CASE(open_link_in_the_middle) { IS(try_open(ROOT, 0, "dlink/a", 0, READ), SUCCESS); }
CASE(open_dangling) { IS(try_open(ROOT, FOLLOW, "dangling", 0, READ), ENOENT); }
CASE(open_loop) { IS(try_open(ROOT, FOLLOW, "loop1", 0, READ), ELOOP); }
CASE(create_through_dangling) {
    IS(try_open(ROOT, FOLLOW, "dangling", CREAT, WRITE), SUCCESS);
    IS(type_of("nowhere"), IS_FILE);
}

CASE(mkdir) {
    IS(path_create_directory(ROOT, PATH("new")), SUCCESS);
    IS(type_of("new"), IS_DIRECTORY);
}
CASE(mkdir_existing) { IS(path_create_directory(ROOT, PATH("dir")), EEXIST); }
CASE(mkdir_on_file) { IS(path_create_directory(ROOT, PATH("file")), EEXIST); }
CASE(mkdir_on_dangling) { IS(path_create_directory(ROOT, PATH("dangling")), EEXIST); }
CASE(mkdir_missing_parent) { IS(path_create_directory(ROOT, PATH("x/y")), ENOENT); }
CASE(mkdir_with_slash) {
    IS(path_create_directory(ROOT, PATH("new/")), SUCCESS);
    IS(type_of("new"), IS_DIRECTORY);
}
CASE(mkdir_nothing) { IS(path_create_directory(ROOT, PATH("")), ENOENT); }

CASE(rmdir) {
    IS(path_remove_directory(ROOT, PATH("dir/sub")), SUCCESS);
    IS(exists("dir/sub"), 0);
}
CASE(rmdir_with_slash) { IS(path_remove_directory(ROOT, PATH("dir/sub/")), SUCCESS); }
CASE(rmdir_not_empty) { IS(path_remove_directory(ROOT, PATH("dir")), ENOTEMPTY); }
CASE(rmdir_file) { IS(path_remove_directory(ROOT, PATH("file")), ENOTDIR); }
CASE(rmdir_link) { IS(path_remove_directory(ROOT, PATH("dlink")), ENOTDIR); }
CASE(rmdir_missing) { IS(path_remove_directory(ROOT, PATH("nope")), ENOENT); }

CASE(unlink) {
    IS(path_unlink_file(ROOT, PATH("file")), SUCCESS);
    IS(exists("file"), 0);
}
CASE(unlink_link) {
    IS(path_unlink_file(ROOT, PATH("link")), SUCCESS);
    IS(exists("file"), 1);
}
CASE(unlink_dangling) { IS(path_unlink_file(ROOT, PATH("dangling")), SUCCESS); }
CASE(unlink_directory) { IS(path_unlink_file(ROOT, PATH("dir")), EISDIR); }
CASE(unlink_with_slash) { IS(path_unlink_file(ROOT, PATH("file/")), ENOTDIR); }
CASE(unlink_missing) { IS(path_unlink_file(ROOT, PATH("nope")), ENOENT); }

CASE(rename) {
    IS(path_rename(ROOT, PATH("file"), ROOT, PATH("dir/moved")), SUCCESS);
    IS(exists("file"), 0);
    IS(size_of("dir/moved"), 11);
}
CASE(rename_over_file) {
    IS(path_rename(ROOT, PATH("file"), ROOT, PATH("dir/a")), SUCCESS);
    IS(size_of("dir/a"), 11);
}
CASE(rename_to_itself) {
    IS(path_rename(ROOT, PATH("file"), ROOT, PATH("file")), SUCCESS);
    IS(size_of("file"), 11);
}
CASE(rename_directory) {
    IS(path_rename(ROOT, PATH("dir"), ROOT, PATH("renamed")), SUCCESS);
    IS(exists("renamed/a"), 1);
}
CASE(rename_directory_over_empty) {
    IS(path_rename(ROOT, PATH("empty"), ROOT, PATH("dir/sub")), SUCCESS);
    IS(exists("empty"), 0);
}
CASE(rename_directory_over_full) { IS(path_rename(ROOT, PATH("empty"), ROOT, PATH("dir")), ENOTEMPTY); }
CASE(rename_directory_over_file) { IS(path_rename(ROOT, PATH("dir"), ROOT, PATH("file")), ENOTDIR); }
CASE(rename_file_over_directory) { IS(path_rename(ROOT, PATH("file"), ROOT, PATH("empty")), EISDIR); }
CASE(rename_into_itself) { IS(path_rename(ROOT, PATH("dir"), ROOT, PATH("dir/sub/x")), EINVAL); }
CASE(rename_missing) { IS(path_rename(ROOT, PATH("nope"), ROOT, PATH("x")), ENOENT); }
CASE(rename_link_itself) {
    IS(path_rename(ROOT, PATH("link"), ROOT, PATH("moved")), SUCCESS);
    IS(type_of("moved"), IS_LINK);
}
CASE(rename_between_descriptors) {
    fd_t dir = open("dir", DIRECTORY, READ | RIGHT_OPEN);
    IS(path_rename(dir, PATH("a"), ROOT, PATH("a")), SUCCESS);
    IS(size_of("a"), 3);
}

CASE(link) {
    struct filestat status;
    IS(path_link(ROOT, 0, PATH("file"), ROOT, PATH("hard")), SUCCESS);
    IS(path_filestat_get(ROOT, 0, PATH("hard"), &status), SUCCESS);
    IS(status.nlink, 2);
}
CASE(link_existing) { IS(path_link(ROOT, 0, PATH("file"), ROOT, PATH("dir/a")), EEXIST); }
CASE(link_directory) { IS(path_link(ROOT, 0, PATH("dir"), ROOT, PATH("hard")), EPERM); }
CASE(link_missing) { IS(path_link(ROOT, 0, PATH("nope"), ROOT, PATH("hard")), ENOENT); }
CASE(link_follow) { IS(path_link(ROOT, FOLLOW, PATH("link"), ROOT, PATH("hard")), EINVAL); }
CASE(link_of_link) {
    IS(path_link(ROOT, 0, PATH("link"), ROOT, PATH("hard")), SUCCESS);
    IS(type_of("hard"), IS_LINK);
}

CASE(symlink) {
    IS(path_symlink(PATH("dir/a"), ROOT, PATH("soft")), SUCCESS);
    IS(type_of("soft"), IS_LINK);
    IS(size_of("soft"), 3);
}
CASE(symlink_dangling) { IS(path_symlink(PATH("not/there"), ROOT, PATH("soft")), SUCCESS); }
CASE(symlink_existing) { IS(path_symlink(PATH("x"), ROOT, PATH("file")), EEXIST); }
CASE(symlink_absolute) { IS(path_symlink(PATH("/etc"), ROOT, PATH("soft")) != SUCCESS, 1); }
CASE(symlink_missing_parent) { IS(path_symlink(PATH("x"), ROOT, PATH("nope/soft")), ENOENT); }
CASE(readlink) {
    IS(path_readlink(ROOT, PATH("link"), buffer, sizeof buffer, &count), SUCCESS);
    show_bytes("target", buffer, count);
}
CASE(readlink_of_file) { IS(path_readlink(ROOT, PATH("file"), buffer, sizeof buffer, &count), EINVAL); }
CASE(readlink_missing) { IS(path_readlink(ROOT, PATH("nope"), buffer, sizeof buffer, &count), ENOENT); }
CASE(readlink_short_buffer) {
    buffer[2] = 'x';
    IS(path_readlink(ROOT, PATH("link"), buffer, 2, &count), SUCCESS);
    IS(count, 2);
    IS(buffer[2], 'x');
}

CASE(stat_link_follow) {
    struct filestat status;
    IS(path_filestat_get(ROOT, FOLLOW, PATH("link"), &status), SUCCESS);
    IS(status.filetype, IS_FILE);
    IS(status.size, 11);
}
CASE(stat_link_itself) {
    struct filestat status;
    IS(path_filestat_get(ROOT, 0, PATH("link"), &status), SUCCESS);
    IS(status.filetype, IS_LINK);
    IS(status.size, 4);
}
CASE(stat_missing) {
    struct filestat status;
    IS(path_filestat_get(ROOT, FOLLOW, PATH("nope"), &status), ENOENT);
}
CASE(stat_dangling) {
    struct filestat status;
    IS(path_filestat_get(ROOT, FOLLOW, PATH("dangling"), &status), ENOENT);
    IS(path_filestat_get(ROOT, 0, PATH("dangling"), &status), SUCCESS);
}
CASE(times_by_path) {
    struct filestat status;
    IS(path_filestat_set_times(ROOT, FOLLOW, PATH("link"), 3000, 4000, ACCESS | MODIFY), SUCCESS);
    IS(path_filestat_get(ROOT, 0, PATH("file"), &status), SUCCESS);
    IS(status.atim, 3000);
    IS(status.mtim, 4000);
}
CASE(times_by_path_missing) {
    IS(path_filestat_set_times(ROOT, FOLLOW, PATH("nope"), 1, 1, ACCESS | MODIFY), ENOENT);
}

/* The second preopen may not be changed. */
CASE(read_only_read) { IS(try_open(READ_ONLY, FOLLOW, "file", 0, READ), SUCCESS); }
CASE(read_only_write) { IS(try_open(READ_ONLY, FOLLOW, "file", 0, BOTH), EPERM); }
CASE(read_only_create) { IS(try_open(READ_ONLY, FOLLOW, "new", CREAT, READ), EPERM); }
CASE(read_only_truncate) { IS(try_open(READ_ONLY, FOLLOW, "file", TRUNC, READ), EPERM); }
CASE(read_only_mkdir) { IS(path_create_directory(READ_ONLY, PATH("new")), EPERM); }
CASE(read_only_rmdir) { IS(path_remove_directory(READ_ONLY, PATH("dir")), EPERM); }
CASE(read_only_unlink) { IS(path_unlink_file(READ_ONLY, PATH("file")), EPERM); }
CASE(read_only_rename_out) { IS(path_rename(READ_ONLY, PATH("file"), ROOT, PATH("x")), EPERM); }
CASE(read_only_rename_in) { IS(path_rename(ROOT, PATH("file"), READ_ONLY, PATH("x")), EPERM); }
CASE(read_only_link_in) { IS(path_link(ROOT, 0, PATH("file"), READ_ONLY, PATH("x")), EPERM); }
CASE(read_only_link_out) { IS(path_link(READ_ONLY, 0, PATH("file"), ROOT, PATH("x")), EPERM); }
CASE(read_only_symlink) { IS(path_symlink(PATH("file"), READ_ONLY, PATH("x")), EPERM); }
CASE(read_only_times) {
    IS(path_filestat_set_times(READ_ONLY, FOLLOW, PATH("file"), 1, 1, ACCESS | MODIFY), EPERM);
}
CASE(read_only_below) {
    fd_t dir = open_with(READ_ONLY, "dir", DIRECTORY, READ | RIGHT_OPEN, 0);
    IS(try_open(dir, FOLLOW, "a", 0, BOTH), EPERM);
    IS(path_unlink_file(dir, PATH("a")), EPERM);
}
CASE(read_only_file_size) {
    fd_t fd = open_with(READ_ONLY, "file", 0, READ, 0);
    IS(fd_filestat_set_size(fd, 0) != SUCCESS, 1);
}
